// Near-duplicates: pairs side by side, resolved by one click.
import { ask, data, el, notice, t, tn } from "./common.js";

const setup = data("setup");
const place = document.getElementById("pairs");
const chosen = document.getElementById("state");
const more = document.getElementById("more");

function picture(image) {
  return el("figure", {}, el("a", { href: image.links.page }, el("img", { src: image.links.thumb, alt: image.title })),
    el("figcaption", { class: "soft small" }, `${image.title} · ${image.width_px} × ${image.height_px}`));
}

function row(pair) {
  const item = el("article", { class: "card pair" }, picture(pair.first), picture(pair.second));
  const decide = async (state) => {
    try {
      await ask(`${setup.pair}${pair.id}`, { method: "PATCH", body: { state } });
      item.remove();
      notice(t("Resolved."), { label: t("Undo"), action: () => ask(`${setup.pair}${pair.id}`, { method: "PATCH", body: { state: "open" } }).then(() => load(), (error) => notice(error.message)) });
    } catch (error) {
      notice(error.message);
    }
  };
  const button = (state, text) => el("button", { type: "button", class: "quiet small", onclick: () => decide(state) }, text);
  item.append(el("div", {}, el("p", { class: "small" }, t("context %s · layout %s", pair.context.toFixed(3), pair.layout.toFixed(3))),
    setup.may_edit ? el("div", { class: "row tight" },
      ...(pair.state === "open" ? [button("duplicate", t("the same picture")), button("different", t("different pictures"))] : [button("open", t("open again"))])) : null));
  return item;
}

let next = null;

async function load(cursor = "") {
  try {
    const found = await ask(`${setup.pairs}?state=${chosen.value}&cursor=${cursor}`);
    if (!cursor) place.replaceChildren();
    place.append(...found.results.map(row));
    next = found.next;
    document.getElementById("count").textContent = tn("%s pair", "%s pairs", found.count);
    if (!found.count && chosen.value === "open") place.append(el("p", { class: "empty" }, t("No two pictures are nearly the same, as far as workers have looked.")));
    more.hidden = !next;
  } catch (error) {
    notice(error.message);
  }
}

chosen.addEventListener("change", () => load());
more.addEventListener("click", () => load(next));
load();
