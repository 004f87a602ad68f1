// A hit beside the query: both masked, linked segments in one colour, numbers that add up to the score.
import { ask, el, layBars, t } from "./common.js";
import { ClassMap } from "./mask.js";

const LINKS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7"];
const SVG = "http://www.w3.org/2000/svg";

export async function compare(dialog, setup, query, hit, examples) {
  const body = dialog.querySelector("#compare-body");
  body.replaceChildren(el("div", { class: "skeleton stage-wait" }, t("Asking why…")));
  dialog.showModal();
  const why = await ask(setup.urls.explain, { method: "POST", body: { query, image: hit.id, pairs: 60 } });
  const pairs = why.context?.pairs ?? [];
  const links = pairs.filter((pair) => pair.link !== null);
  const first = links[0]?.query.image ?? examples[0]?.image ?? null;
  const sides = el("div", { class: "sides" });
  if (first) sides.append(await side(setup, first, t("Query"), links.map((pair) => ({ ...pair.query, link: pair.link })).filter((one) => one.image === first)));
  sides.append(await side(setup, hit.id, hit.title, links.map((pair) => ({ ...pair.hit, link: pair.link })), hit.regions ?? []));
  const opacity = el("input", { type: "range", min: 0, max: 100, value: 40, "aria-label": t("Opacity of the masks") });
  opacity.addEventListener("input", () => {
    for (const canvas of sides.querySelectorAll("canvas")) canvas.style.opacity = opacity.value / 40;
  });
  body.replaceChildren(sides,
    el("div", { class: "row tight" }, el("label", { class: "slider" }, el("span", {}, t("Opacity")), opacity), el("a", { class: "button quiet small", href: hit.links.page }, t("Open its page"))),
    scores(why), ...contextTable(pairs, why.context, setup), ...layoutGrid(why.layout), ...overlap(why.composition, setup));
  layBars(body);
}

async function side(setup, id, title, linked, matched = []) {
  const picture = await ask(`/images/${id}/parts`);
  const canvas = el("canvas", { role: "img", "aria-label": t("Class map of the picture") });
  const frame = el("div", { class: "glued" }, el("img", { class: "photo", src: picture.large, alt: picture.title }), canvas);
  frame.style.setProperty("--ratio", picture.width_px / picture.height_px);
  const map = await ClassMap.load(picture.mask, setup.classes);
  map.draw(canvas, { opacity: 0.4 });
  for (const one of linked) {
    const stored = picture.regions.find((region) => region.number === one.number);
    const segment = stored && map.segmentOf(stored);
    if (segment) edge(canvas, map, segment.inside, LINKS[one.link % LINKS.length]);
  }
  for (const region of matched) {
    const context = canvas.getContext("2d");
    const [x0, y0, x1, y1] = region.box;
    context.strokeStyle = "#fff";
    context.lineWidth = 3;
    context.strokeRect(x0 * map.width, y0 * map.height, (x1 - x0) * map.width, (y1 - y0) * map.height);
  }
  return el("figure", {}, frame, el("figcaption", { class: "soft small" }, title));
}

/** Outline a segment, three pixels wide. */
function edge(canvas, map, inside, colour) {
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  for (let at = 0; at < inside.length; at += 1) {
    const neighbour = at + 1 < inside.length && inside[at] !== inside[at + 1];
    const below = at + map.width < inside.length && inside[at] !== inside[at + map.width];
    if (neighbour || below) context.fillRect((at % map.width) - 1, Math.floor(at / map.width) - 1, 3, 3);
  }
}

function scores(why) {
  const rows = Object.entries(why.parts).map(([space, part]) => el("tr", {},
    el("th", { scope: "row" }, t(space)), el("td", {}, part.score.toFixed(3)),
    el("td", {}, `× ${part.weight.toFixed(2)}`), el("td", {}, `= ${part.contribution.toFixed(3)}`)));
  return el("table", { class: "scores" }, el("caption", {}, t("Score %s", why.score.toFixed(3))), el("tbody", {}, ...rows));
}

function contextTable(pairs, context, setup) {
  if (!pairs.length) return [];
  const label = (region) => (region.class === null ? t("the rest") : setup.classes.find((one) => one.name === region.class)?.label ?? region.class);
  const most = Math.max(...pairs.map((pair) => Math.abs(pair.share)));
  const shown = pairs.slice(0, 8);
  const rest = pairs.slice(8).reduce((sum, pair) => sum + pair.share, context.others ?? 0);
  const rows = shown.map((pair) => {
    const mark = el("span", { class: "dot" });
    mark.style.background = pair.link === null ? "transparent" : LINKS[pair.link % LINKS.length];
    return el("tr", {}, el("td", {}, mark), el("td", {}, `${label(pair.query)} ↔ ${label(pair.hit)}`),
      el("td", { class: "bar-cell" }, el("span", { class: `bar-fill${pair.share < 0 ? " negative" : ""}`, "data-share": ((100 * Math.abs(pair.share)) / most).toFixed(1) })),
      el("td", {}, pair.share.toFixed(3)));
  });
  return [el("h3", {}, t("Context: shares by pairs of segments")),
    el("table", { class: "pairs" }, el("tbody", {}, ...rows,
      el("tr", { class: "soft" }, el("td"), el("td", {}, t("all other pairs")), el("td"), el("td", {}, rest.toFixed(3)))))];
}

function layoutGrid(layout) {
  if (!layout) return [];
  const values = layout.cells.flat();
  const most = Math.max(...values, 1e-6);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${layout.grid} ${layout.grid}`);
  svg.setAttribute("class", "agreement");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", t("Agreement of each cell"));
  layout.cells.forEach((row, y) => row.forEach((value, x) => {
    const cell = document.createElementNS(SVG, "rect");
    for (const [key, one] of Object.entries({ x: x + 0.03, y: y + 0.03, width: 0.94, height: 0.94, "fill-opacity": Math.max(0.04, value / most) })) cell.setAttribute(key, one);
    const title = document.createElementNS(SVG, "title");
    title.textContent = value.toFixed(4);
    cell.append(title);
    svg.append(cell);
  }));
  return [el("h3", {}, t("Layout: where they agree")), svg];
}

function overlap(rows, setup) {
  if (!rows?.length) return [];
  const lines = rows.slice(0, 10).map((row) => {
    const known = setup.classes.find((one) => one.name === row.class);
    return el("tr", { class: `class-${known?.index}` }, el("td", {}, el("span", { class: "dot" })), el("td", {}, known?.label ?? row.class),
      el("td", {}, `${(100 * row.query).toFixed(1)} %`), el("td", {}, `${(100 * row.hit).toFixed(1)} %`), el("td", {}, row.share.toFixed(3)));
  });
  return [el("h3", {}, t("Composition: what both have")),
    el("table", {}, el("thead", {}, el("tr", {}, el("th"), el("th", {}, t("Class")), el("th", {}, t("Query")), el("th", {}, t("Hit")), el("th", {}, t("adds")))), el("tbody", {}, ...lines))];
}
