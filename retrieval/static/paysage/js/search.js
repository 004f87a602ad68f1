// The search page: one query, shown as chips, changed by every control, answered while one chooses.
import { ask, csrf, data, el, layBars, notice, t, tn } from "./common.js";
import { compare } from "./compare.js";
import { Painting } from "./paint.js";
import { pickPart } from "./pick.js";
import { Ranges } from "./ranges.js";
import { planWords, savedRow } from "./telling.js";

export const setup = data("setup");
const classes = new Map(setup.classes.map((one) => [one.name, one]));
const label = (name) => classes.get(name)?.label ?? name;
const $ = (id) => document.getElementById(id);
const hits = $("hits");

let query = structuredClone(setup.query);
let cursor = null;
let request = null;
const pictures = new Map(); // what is known of example pictures, by id

// --- the query ---------------------------------------------------------------------------------

const hasVectors = () => Boolean(query.like?.length || query.unlike?.length || query.layout?.cells?.length);
const isEmpty = () => !hasVectors() && !query.classes?.length && !hasFilters();

function hasFilters() {
  const { collections: _, ...rest } = query.where ?? {};
  return Object.keys(rest).length > 0;
}

/** The query without what is empty, as it stands in the address bar. */
function tidy() {
  const found = {};
  for (const [key, value] of Object.entries(query)) {
    const empty = value === null || value === false || value === "" || value === undefined
      || (Array.isArray(value) && !value.length)
      || (key === "layout" && !value.cells?.length)
      || (typeof value === "object" && !Array.isArray(value) && !Object.keys(value).length);
    if (!empty) found[key] = value;
  }
  return found;
}

let due = null;

/** After any change: show it, put it into the address, ask again shortly. */
function changed({ address = true, wait = 250 } = {}) {
  if (address) {
    const now = JSON.stringify(tidy());
    history.pushState(null, "", now === "{}" ? location.pathname : `?q=${encodeURIComponent(now)}`);
  }
  show();
  clearTimeout(due);
  due = setTimeout(run, wait);
}

window.addEventListener("popstate", () => {
  const text = new URLSearchParams(location.search).get("q");
  query = text ? JSON.parse(text) : {};
  painting.read(query.layout?.cells ?? []);
  changed({ address: false, wait: 0 });
});

// --- asking ------------------------------------------------------------------------------------

async function run() {
  request?.abort();
  request = new AbortController();
  const { signal } = request;
  cursor = null;
  $("error").hidden = true;
  $("start").hidden = !isEmpty();
  ranges.load(tidy());
  if (isEmpty()) {
    hits.replaceChildren();
    $("plan").textContent = "";
    $("more-hits").hidden = true;
    $("count").textContent = "";
    return;
  }
  const waiting = [...(query.like ?? []), ...(query.unlike ?? [])]
    .some((one) => ["queued", "running"].includes(pictures.get(one.image)?.state));
  if (waiting) return; // asked again when it is parsed
  busy(true);
  try {
    const counting = ask(setup.urls.count, { method: "POST", body: { query: tidy() }, signal });
    counting.catch(() => {}); // told with the answer's own error
    const answer = await ask(setup.urls.search, { method: "POST", body: { ...tidy(), limit: 48 }, signal });
    hits.replaceChildren();
    take(answer);
    const found = await counting;
    $("count").textContent = tn("%s picture matches", "%s pictures match", found.count);
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

function busy(on) {
  $("results").setAttribute("aria-busy", String(on));
  if (on && !hits.children.length) {
    hits.replaceChildren(...Array.from({ length: 12 }, () => el("div", { class: "skeleton" })));
  }
}

function complain(error) {
  hits.replaceChildren();
  $("plan").textContent = "";
  $("more-hits").hidden = true;
  $("error").textContent = error.message;
  $("error").hidden = false;
}

function take(answer) {
  hits.append(...answer.results.map(tile));
  if (!hits.children.length) {
    hits.append(el("p", {}, t("Nothing matches. Widen a range, or choose another collection.")));
  }
  layBars(hits);
  cursor = answer.cursor;
  $("more-hits").hidden = !cursor;
  $("plan").textContent = planWords(answer.plan);
}

$("more-hits").addEventListener("click", async () => {
  $("more-hits").disabled = true;
  try {
    take(await ask(setup.urls.search, { method: "POST", body: { ...tidy(), limit: 48, cursor } }));
  } catch (error) {
    notice(error.message);
  }
  $("more-hits").disabled = false;
});

// --- hits --------------------------------------------------------------------------------------

function tile(hit) {
  const parts = Object.entries(hit.parts).map(([name, value]) => el("span", { class: "part" },
    el("span", {}, t(name)),
    el("meter", { min: 0, max: 1, value: Math.max(0, value), title: `${t(name)} ${value.toFixed(3)}`, "aria-label": `${t(name)} ${value.toFixed(3)}` })));
  const percentile = hit.percentiles?.score;
  const outlines = (hit.regions ?? []).map((region) => outline(region.box, region.class));
  const open = el("a", { class: "tile done", href: hit.links.page, title: hit.title, onclick: (event) => opened(event, hit) },
    el("span", { class: "framed" }, el("img", { src: hit.links.thumb, alt: hit.title, loading: "lazy" }), ...outlines),
    el("span", { class: "parts" }, el("span", { class: "score" }, hit.score.toFixed(3),
      percentile === undefined || percentile === null ? "" : el("span", { class: "soft small" }, ` ${t("closer than %s % of pairs", percentile.toFixed(1))}`)),
      ...parts));
  const tools = el("span", { class: "feedback" },
    el("button", { type: "button", class: "icon", "aria-label": t("More like %s", hit.title), title: t("More like this"), onclick: () => feedback("like", hit) }, "+"),
    el("button", { type: "button", class: "icon", "aria-label": t("Less like %s", hit.title), title: t("Less like this"), onclick: () => feedback("unlike", hit) }, "−"));
  return el("div", { class: "hit", "data-id": hit.id }, open, tools);
}

/** A box over a picture, in shares of it, as an SVG: the policy allows no inline styles. */
export function outline(box, title = "", extra = "") {
  const [x0, y0, x1, y1] = box.map((value) => 100 * value);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", `outline ${extra}`);
  const rectangle = document.createElementNS(svg.namespaceURI, "rect");
  for (const [key, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) rectangle.setAttribute(key, value);
  const named = document.createElementNS(svg.namespaceURI, "title");
  named.textContent = title ? label(title) : "";
  rectangle.append(named);
  svg.append(rectangle);
  return svg;
}

function opened(event, hit) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  if (!hasVectors()) return; // a class query has nothing to compare with: the picture's own page
  event.preventDefault();
  compare($("compare"), setup, tidy(), hit, query.like ?? []).catch((error) => notice(error.message));
}

function feedback(kind, hit) {
  const other = kind === "like" ? "unlike" : "like";
  query[other] = (query[other] ?? []).filter((one) => one.image !== hit.id || one.region !== undefined);
  if (!(query[kind] ?? []).some((one) => one.image === hit.id && one.region === undefined)) {
    query[kind] = [...(query[kind] ?? []), { image: hit.id }];
  }
  changed();
}

// --- what is asked, as chips and as a list of examples -------------------------------------------

function show() {
  const chips = [];
  const chip = (text, gone) => chips.push(el("button", { type: "button", class: "chip", title: t("Leave out"), onclick: () => { gone(); changed(); } }, `${text} ×`));
  for (const kind of ["like", "unlike"]) {
    (query[kind] ?? []).forEach((one, at) => {
      const name = pictures.get(one.image)?.title || t("a picture");
      const part = one.region !== undefined ? t("a segment of %s", name) : one.box ? t("a box in %s", name) : name;
      chip(kind === "like" ? t("like %s", part) : t("unlike %s", part), () => query[kind].splice(at, 1));
    });
  }
  if (query.layout?.cells?.length) chip(tn("%s painted cell", "%s painted cells", query.layout.cells.length), () => { query.layout = {}; painting.read([]); });
  (query.classes ?? []).forEach((one, at) => chip(rangeWords(one), () => query.classes.splice(at, 1)));
  const where = query.where ?? {};
  for (const pk of where.collections ?? []) {
    chip(setup.collections.find((one) => one.id === pk)?.name ?? pk, () => { delete where.collections; });
  }
  for (const key of ["orientation", "tags", "taken"]) {
    if (where[key]) chip(key === "orientation" ? t(where[key]) : key === "tags" ? (where.tags.all ?? []).join(", ") : Object.values(where.taken).join(" – "), () => { delete where[key]; });
  }
  $("chips").replaceChildren(...chips);
  if (chips.length > 1) $("chips").append(el("button", { type: "button", class: "quiet small", onclick: () => { query = {}; painting.read([]); changed(); } }, t("Begin anew")));
  showExamples();
  ranges.show(query.classes ?? []);
  settings();
}

function rangeWords({ name, min = 0, max = 1 }) {
  const percent = (value) => `${Number((100 * value).toFixed(1))} %`;
  if (max <= 0.005) return t("no %s", label(name));
  if (min <= 0.005 && max >= 1) return t("some %s", label(name));
  if (max >= 1) return `${label(name)} ≥ ${percent(min)}`;
  if (min <= 0) return `${label(name)} ≤ ${percent(max)}`;
  return `${label(name)} ${percent(min)} – ${percent(max)}`;
}

function showExamples() {
  const rows = [];
  for (const kind of ["like", "unlike"]) {
    (query[kind] ?? []).forEach((one, at) => rows.push(exampleRow(kind, one, at)));
  }
  $("examples").replaceChildren(...rows);
  $("no-examples").hidden = rows.length > 0;
}

function exampleRow(kind, one, at) {
  const known = pictures.get(one.image);
  if (!known) learn(one.image);
  const region = known?.regions?.find((found) => found.number === one.region);
  const box = one.box ?? region?.box;
  const ready = known?.state === "done";
  const weight = el("input", { type: "range", min: 0.1, max: 2, step: 0.1, value: one.weight ?? 1, "aria-label": t("Weight") });
  weight.addEventListener("change", () => { one.weight = Number(weight.value); changed(); });
  return el("li", { class: `example ${kind}` },
    el("span", { class: "framed" }, ready ? el("img", { src: known.thumb, alt: known.title }) : el("span", { class: "skeleton" }, known?.state ? t("Being parsed…") : ""), box ? outline(box) : null),
    el("span", { class: "stack-tight" },
      el("span", { class: "small" }, kind === "like" ? t("like") : t("unlike"), " ", el("a", { href: known?.page ?? "#" }, known?.title || "…")),
      weight,
      el("span", { class: "row tight" },
        el("button", { type: "button", class: "quiet small", disabled: !ready, onclick: () => choosePart(kind, at) }, t("Only a part")),
        el("button", { type: "button", class: "quiet small", onclick: () => turn(kind, at) }, kind === "like" ? "−" : "+"),
        el("button", { type: "button", class: "quiet small", "aria-label": t("Leave out"), onclick: () => { query[kind].splice(at, 1); changed(); } }, "×"))));
}

function turn(kind, at) {
  const other = kind === "like" ? "unlike" : "like";
  query[other] = [...(query[other] ?? []), ...query[kind].splice(at, 1)];
  changed();
}

async function choosePart(kind, at) {
  const one = query[kind][at];
  const part = await pickPart($("pick"), setup, pictures.get(one.image), one);
  if (!part) return;
  const { region, box, class: name, ...rest } = one;
  query[kind][at] = { ...rest, ...part };
  changed();
}

/** Ask about an example picture until it is parsed or refused. */
async function learn(id) {
  pictures.set(id, { id, state: "", regions: [] });
  for (;;) {
    let found;
    try {
      found = await ask(`/images/${id}/parts`);
    } catch (error) {
      complain(error);
      return;
    }
    pictures.set(id, found);
    if (!["queued", "running"].includes(found.state)) break;
    status(t("Parsing your picture…"));
    showExamples();
    await new Promise((done) => { setTimeout(done, 400); });
  }
  const found = pictures.get(id);
  status("");
  if (found.state !== "done") complain(new Error(found.error || t("This picture could not be parsed.")));
  show();
  if (found.state === "done" && !hits.querySelector(".hit")) changed({ address: false, wait: 0 });
}

// --- a picture to search with ------------------------------------------------------------------

function status(text) {
  $("query-status").textContent = text;
}

function upload(file) {
  status(t("Uploading…"));
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const sending = new XMLHttpRequest();
  sending.open("POST", setup.urls.upload);
  sending.setRequestHeader("Accept", "application/json");
  sending.setRequestHeader("X-CSRFToken", csrf());
  sending.upload.addEventListener("progress", (event) => status(t("Uploading %s %", Math.round((100 * event.loaded) / event.total))));
  sending.addEventListener("loadend", () => {
    let body = {};
    try { body = JSON.parse(sending.responseText); } catch { /* a proxy's page, or no answer */ }
    if (!body.id) {
      status(body.error?.message ?? t("The connection was lost."));
      return;
    }
    query.like = [...(query.like ?? []).filter((one) => one.image !== body.id), { image: body.id }];
    pictures.delete(body.id);
    hits.replaceChildren();
    changed();
  });
  sending.send(form);
}

const drop = $("query-drop");
const chooser = drop.querySelector("input[type=file]");
function takeFile() {
  if (chooser.files[0]) upload(chooser.files[0]);
  chooser.value = "";
}
chooser.addEventListener("change", takeFile);
if (chooser.files.length) takeFile(); // chosen before this script had come
document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) upload(file);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData?.files ?? [];
  if (file) upload(file);
});

// --- words -------------------------------------------------------------------------------------

$("words").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = event.target.elements.text.value.trim();
  const note = $("unused");
  note.hidden = true;
  if (!text) return;
  try {
    const found = await ask(setup.urls.words, { method: "POST", body: { text } });
    query.classes = found.query.classes ?? [];
    note.hidden = !found.unused.length && found.classes.length > 0;
    note.textContent = found.unused.length ? t("Not used: %s", found.unused.join(", ")) : t("No class was named.");
    changed({ wait: 0 });
  } catch (error) {
    notice(error.message);
  }
});

// --- ranges, painting, settings ------------------------------------------------------------------

const ranges = new Ranges($("ranges"), $("add-class"), setup, (rows) => { query.classes = rows; changed(); });
const painting = new Painting($("paint"), setup, (cells) => {
  query.layout = cells.length ? { grid: 8, cells } : {};
  changed();
}, () => (query.like ?? []).map((one) => one.image));

const form = $("settings");
form.elements.collection.append(...setup.collections.map((one) => el("option", { value: one.id }, one.name)));

function settings() {
  const where = query.where ?? {};
  const fields = form.elements;
  fields.collection.value = where.collections?.[0] ?? "";
  if (document.activeElement !== fields.tags) fields.tags.value = (where.tags?.all ?? []).join(", ");
  fields.orientation.value = where.orientation ?? "";
  fields.taken_from.value = where.taken?.from?.slice(0, 10) ?? "";
  fields.taken_to.value = where.taken?.to?.slice(0, 10) ?? "";
  const rank = query.rank ?? setup.rank;
  for (const space of ["context", "layout", "composition"]) fields[`rank_${space}`].value = rank[space] ?? 0;
  fields.metric.value = query.metric ?? "cosine";
  fields.exact.checked = query.exact ?? false;
}

form.addEventListener("change", (event) => {
  const fields = form.elements;
  const where = { ...(query.where ?? {}) };
  const put = (key, value) => { if (value) where[key] = value; else delete where[key]; };
  put("collections", fields.collection.value ? [Number(fields.collection.value)] : null);
  const tags = fields.tags.value.split(/[,，]/).map((one) => one.trim()).filter(Boolean);
  put("tags", tags.length ? { all: tags } : null);
  put("orientation", fields.orientation.value);
  const taken = {};
  if (fields.taken_from.value) taken.from = fields.taken_from.value;
  if (fields.taken_to.value) taken.to = fields.taken_to.value;
  put("taken", Object.keys(taken).length ? taken : null);
  query.where = where;
  if (event.target.name.startsWith("rank_")) {
    const rank = {};
    for (const space of ["context", "layout", "composition"]) rank[space] = Number(fields[`rank_${space}`].value);
    if (Object.values(rank).some(Boolean)) query.rank = rank;
  }
  query.metric = fields.metric.value === "cosine" ? undefined : fields.metric.value;
  query.exact = fields.exact.checked;
  changed();
});
form.addEventListener("submit", (event) => event.preventDefault());
$("default-rank").addEventListener("click", () => { delete query.rank; changed(); });

// --- saved searches ------------------------------------------------------------------------------

async function listSaved() {
  let rows;
  try {
    rows = (await ask(`${setup.urls.saved}?new=true`)).results;
  } catch {
    return;
  }
  $("saved").replaceChildren(...rows.map((one) => savedRow(one, openSaved, dropSaved)));
}

function openSaved(event, one) {
  event.preventDefault();
  query = structuredClone(one.query);
  painting.read(query.layout?.cells ?? []);
  changed({ wait: 0 });
  ask(`${setup.urls.saved}/${one.id}/answer`, { method: "POST", body: { limit: 1 } }).then(listSaved, () => {});
}

/** One's own is deleted; another's, shared where one manages, stays with its author. */
async function dropSaved(one) {
  const how = one.own ? { method: "DELETE" } : { method: "PATCH", body: { shared: false } };
  await ask(`${setup.urls.saved}/${one.id}`, how).catch((error) => notice(error.message));
  listSaved();
}

$("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, shared } = event.target.elements;
  const body = { name: name.value, query: tidy() };
  const collection = query.where?.collections?.[0];
  if (shared.checked) Object.assign(body, { shared: true, collection: collection ?? null });
  try {
    await ask(setup.urls.saved, { method: "POST", body });
    name.value = "";
    notice(t("Saved."));
    listSaved();
  } catch (error) {
    notice(error.message);
  }
});

// --- start -------------------------------------------------------------------------------------

painting.read(query.layout?.cells ?? []);
if (query.layout?.cells?.length) $("paint-box").open = true;
changed({ address: false, wait: 0 });
listSaved();
