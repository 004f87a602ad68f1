// The gallery: justified rows, endless scrolling with an address, live states, a selection.
import { ask, el, notice, t, tn } from "./common.js";

const gallery = document.getElementById("gallery");
const live = document.getElementById("live");
const tiles = () => [...gallery.querySelectorAll("li[data-id]")];
const here = location.pathname;

/** Lay out new tiles; ratios come in thousandths. */
function lay(root = gallery) {
  for (const one of root.querySelectorAll("li[data-ratio]")) {
    one.style.setProperty("--ratio", Math.min(3, Math.max(0.4, one.dataset.ratio / 1000)));
  }
}

function fromHtml(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  lay(template.content);
  return template.content;
}

// --- endless scrolling -------------------------------------------------------------------------

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) more(entry.target);
}, { rootMargin: "1200px" });

// The address follows the page that is being looked at, so that it can be linked and gone back to.
const begun = location.search.replace(/^\?/, "");
let shown = begun;
let asked = false;

function follow() {
  asked = false;
  // A short last page never comes up to the middle of the window.
  const ended = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const line = ended ? innerHeight : innerHeight / 2;
  const above = [...gallery.querySelectorAll("li[data-address]")]
    .filter((item) => item.getBoundingClientRect().top < line);
  const query = above.length ? above[above.length - 1].dataset.address : begun;
  if (query === shown) return;
  shown = query;
  history.replaceState(null, "", query ? `${here}?${query}` : here);
}

addEventListener("scroll", () => {
  if (!asked) requestAnimationFrame(follow);
  asked = true;
}, { passive: true });

async function more(item) {
  seen.unobserve(item);
  const query = item.dataset.next;
  try {
    const answer = await fetch(`${here}?${query}&tiles=1`);
    if (!answer.ok) throw new Error();
    const page = fromHtml(await answer.text());
    page.querySelector("li").dataset.address = query;
    item.replaceWith(page);
    watch();
  } catch {
    notice(t("The next pictures did not come."), { label: t("Try again"), action: () => seen.observe(item) });
  }
}

function watch() {
  for (const item of gallery.querySelectorAll(".more")) seen.observe(item);
}

// --- live states -------------------------------------------------------------------------------

const waits = (item) => ["queued", "running", ""].includes(item.dataset.state);
// Others may add pictures at any time: everything parsed now is no reason to stop looking.
const IDLE = 8000;
let timer = null;

async function refresh() {
  timer = null;
  const pending = tiles().filter(waits).slice(0, 150).map((item) => item.dataset.id);
  let found;
  try {
    found = await ask(`${live.dataset.live}?ids=${pending.join(",")}`);
  } catch {
    schedule(5000);
    return;
  }
  live.innerHTML = found.progress;
  for (const [id, html] of Object.entries(found.tiles)) replace(id, html);
  schedule(found.waiting ? 1500 : IDLE);
}

function replace(id, html) {
  const old = gallery.querySelector(`[data-id="${id}"]`);
  const made = fromHtml(html).firstElementChild;
  if (!old) return;
  made.querySelector(".pick").checked = old.querySelector(".pick").checked;
  if (old.dataset.address) made.dataset.address = old.dataset.address;
  old.replaceWith(made);
}

function schedule(wait) {
  timer ??= setTimeout(refresh, wait);
}

document.addEventListener("paysage:uploaded", async (event) => {
  document.getElementById("nothing")?.remove();
  if (event.detail.created && !gallery.querySelector(`[data-id="${event.detail.id}"]`)) {
    const found = await ask(`${live.dataset.live}?ids=${event.detail.id}&all=1`).catch(() => null);
    if (found) {
      live.innerHTML = found.progress;
      for (const html of Object.values(found.tiles)) gallery.prepend(fromHtml(html));
    }
  }
  schedule(800);
});

// --- selection ---------------------------------------------------------------------------------

const bar = document.getElementById("selection");
let last = null;
let wholeFilter = false;

const picked = () => tiles().filter((item) => item.querySelector(".pick").checked);

function show() {
  const count = picked().length;
  bar.hidden = !count && !wholeFilter;
  gallery.classList.toggle("picking", count > 0);
  document.getElementById("selected").textContent = wholeFilter
    ? t("all that pass the filter") : t("%s selected", count);
}

function choose(item, on) {
  item.querySelector(".pick").checked = on;
}

gallery.addEventListener("click", (event) => {
  const box = event.target.closest(".pick");
  const item = event.target.closest("li[data-id]");
  if (!item) return;
  if (!box) {
    // While pictures are being picked, a click on one picks it too.
    if (!(event.shiftKey || gallery.classList.contains("picking")) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    choose(item, !item.querySelector(".pick").checked);
  }
  const all = tiles();
  if (event.shiftKey && last && all.includes(last)) {
    const [from, to] = [all.indexOf(last), all.indexOf(item)].sort((a, b) => a - b);
    for (const one of all.slice(from, to + 1)) choose(one, item.querySelector(".pick").checked);
  }
  last = item;
  wholeFilter = false;
  show();
});

let lasso = null;

gallery.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "mouse" || event.button !== 0 || event.target !== gallery) return;
  event.preventDefault();
  lasso = { x: event.pageX, y: event.pageY, box: el("div", { class: "lasso" }), before: new Set(picked()) };
  document.body.append(lasso.box);
});

document.addEventListener("pointermove", (event) => {
  if (!lasso) return;
  const [left, right] = [lasso.x, event.pageX].sort((a, b) => a - b);
  const [top, bottom] = [lasso.y, event.pageY].sort((a, b) => a - b);
  Object.assign(lasso.box.style, {
    left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px`,
  });
  for (const item of tiles()) {
    const frame = item.getBoundingClientRect();
    const touched = frame.left + scrollX < right && frame.right + scrollX > left
      && frame.top + scrollY < bottom && frame.bottom + scrollY > top;
    choose(item, touched || lasso.before.has(item));
  }
  show();
});

document.addEventListener("pointerup", () => {
  lasso?.box.remove();
  lasso = null;
});

document.getElementById("select-all").addEventListener("click", () => {
  wholeFilter = true;
  for (const item of tiles()) choose(item, true);
  show();
});

function none() {
  wholeFilter = false;
  for (const item of tiles()) choose(item, false);
  show();
}

document.getElementById("select-none").addEventListener("click", none);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) none();
});

// --- actions on the selection ------------------------------------------------------------------

function chosen() {
  if (!wholeFilter) return { ids: picked().map((item) => item.dataset.id) };
  const query = new URLSearchParams(location.search);
  query.delete("after");
  return { filter: query.toString() };
}

function dialog(name) {
  const box = document.getElementById(name);
  return new Promise((done) => {
    box.addEventListener("close", () => {
      done(box.returnValue ? Object.fromEntries(new FormData(box.querySelector("form"))) : null);
    }, { once: true });
    box.returnValue = "";
    box.showModal();
  });
}

const words = (text) => (text ?? "").split(/[,，]/).map((one) => one.trim()).filter(Boolean);

const actions = {
  async tag() {
    const asked = await dialog("ask-tag");
    if (!asked) return;
    const found = await act("tag", { add: words(asked.add), remove: words(asked.remove) });
    notice(tn("%s picture tagged.", "%s pictures tagged.", found.changed));
    none();
  },
  async move() {
    const asked = await dialog("ask-move");
    if (!asked) return;
    const gone = picked();
    const found = await act("move", { to: Number(asked.to) });
    notice(found.duplicates
      ? tn("%s picture moved; already there: %s.", "%s pictures moved; already there: %s.", found.changed, found.duplicates)
      : tn("%s picture moved.", "%s pictures moved.", found.changed));
    if (found.duplicates || wholeFilter) location.reload();
    else for (const item of gone) item.remove();
    none();
  },
  async parse() {
    const found = await act("parse", {});
    for (const item of picked()) item.dataset.state = "queued";
    notice(tn("%s picture is parsed again.", "%s pictures are parsed again.", found.changed));
    none();
    schedule(500);
  },
  async delete() {
    const gone = picked();
    const found = await act("delete", {});
    for (const item of gone) item.hidden = true;
    none();
    offerUndo(found.undo, tn("%s picture deleted.", "%s pictures deleted.", found.changed), () => {
      for (const item of gone) item.hidden = false;
    });
    schedule(100);
  },
};

function act(name, body) {
  return ask(`${here}/${name}`, { method: "POST", body: { ...chosen(), ...body } });
}

function offerUndo(url, text, restored) {
  notice(text, {
    label: t("Undo"),
    seconds: 20,
    action: async () => {
      try {
        await ask(url, { method: "POST" });
        restored();
        schedule(100);
      } catch (error) {
        notice(error.message);
      }
    },
  });
}

for (const button of bar.querySelectorAll("[data-act]")) {
  button.addEventListener("click", async () => {
    try {
      await actions[button.dataset.act]();
    } catch (error) {
      notice(error.message);
    }
  });
}

document.getElementById("download").addEventListener("submit", (event) => {
  event.target.elements.ids.value = picked().map((item) => item.dataset.id).join(",");
});

// --- start -------------------------------------------------------------------------------------

const deleted = location.hash.match(/^#undo=([0-9a-f-]{36})$/);
if (deleted) {
  history.replaceState(null, "", location.pathname + location.search);
  offerUndo(`/undo/${deleted[1]}`, tn("%s picture deleted.", "%s pictures deleted.", 1), () => location.reload());
}
lay();
watch();
// Browsers restore ticks when a page is gone back to.
show();
schedule(Number(live.dataset.waiting) ? 1000 : IDLE);
