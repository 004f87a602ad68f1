// The map of a collection, and charts of its classes.
import { ask, data, el, layBars, notice, t, typing } from "./common.js";

const setup = data("setup");
const map = document.getElementById("map");
const label = (name) => setup.classes.find((one) => one.name === name)?.label ?? name;
let box = [0, 0, 1, 1];
let request = null;

async function draw() {
  request?.abort();
  request = new AbortController();
  const cells = Math.max(4, Math.round(map.clientWidth / 90));
  let found;
  try {
    found = await ask(`${setup.map}?box=${box.map((value) => value.toFixed(5)).join(",")}&cells=${Math.min(64, cells)}`, { signal: request.signal });
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message);
    return;
  }
  const [x0, y0, x1, y1] = box;
  map.replaceChildren(...found.cells.map((cell) => {
    const item = el("a", { href: `/images/${cell.image}`, class: "on-map" },
      el("img", { src: cell.thumb, alt: "", loading: "lazy" }), cell.images > 1 ? el("span", { class: "badge" }, String(cell.images)) : null);
    item.setAttribute("aria-label", cell.images > 1 ? t("%s pictures here", cell.images) : t("a picture"));
    item.style.left = `${(100 * (cell.x - x0)) / (x1 - x0)}%`;
    item.style.top = `${(100 * (cell.y - y0)) / (y1 - y0)}%`;
    return item;
  }));
  document.getElementById("map-state").textContent = found.points
    ? t("%s of %s pictures are on the map", found.points, Math.max(found.images, found.points))
    : t("The map is drawn by a worker within minutes after pictures were parsed.");
}

function zoom(factor, x = 0.5, y = 0.5) {
  const [x0, y0, x1, y1] = box;
  const side = Math.min(1, Math.max(0.01, (x1 - x0) * factor));
  const place = (low, high, at) => Math.min(1 - side, Math.max(0, low + (high - low) * at - side * at));
  const [left, top] = [place(x0, x1, x), place(y0, y1, y)];
  box = [left, top, left + side, top + side];
  draw();
}

function move(right, down) {
  const side = box[2] - box[0];
  const left = Math.min(1 - side, Math.max(0, box[0] + right * side));
  const top = Math.min(1 - side, Math.max(0, box[1] + down * side));
  box = [left, top, left + side, top + side];
  draw();
}

map.addEventListener("wheel", (event) => {
  event.preventDefault();
  const at = map.getBoundingClientRect();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, (event.clientX - at.left) / at.width, (event.clientY - at.top) / at.height);
}, { passive: false });

for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => {
    if (button.dataset.zoom === "all") { box = [0, 0, 1, 1]; draw(); } else zoom(Number(button.dataset.zoom));
  });
}

map.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, -0.25], ArrowDown: [0, 0.25] };
  if (typing(event)) return;
  if (event.key in steps) { event.preventDefault(); move(...steps[event.key]); }
  if (event.key === "+") zoom(0.7);
  if (event.key === "-") zoom(1.4);
});

let drag = null;
map.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, moved: false }; });
map.addEventListener("dragstart", (event) => event.preventDefault());
document.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const [right, down] = [(drag.x - event.clientX) / map.clientWidth, (drag.y - event.clientY) / map.clientHeight];
  if (Math.hypot(right, down) > 0.02) {
    map.addEventListener("click", (click) => click.preventDefault(), { once: true, capture: true });
    move(right, down);
  }
  drag = null;
});

function areas(found) {
  const rows = found.classes.filter((one) => one.images).sort((a, b) => b.mean_area - a.mean_area);
  const most = rows[0]?.mean_area || 1;
  document.getElementById("areas").replaceChildren(el("table", {}, el("tbody", {}, ...rows.map((one) => el("tr", {},
    el("th", { scope: "row" }, label(one.name)),
    el("td", { class: "bar-cell" }, el("span", { class: "bar-fill", "data-share": ((100 * one.mean_area) / most).toFixed(1) })),
    el("td", {}, `${(100 * one.mean_area).toFixed(1)} %`), el("td", { class: "soft" }, t("in %s pictures", one.images)))))));
  layBars(document.getElementById("areas"));
}

function together(found) {
  const used = found.classes.map((one, at) => ({ ...one, at })).filter((one) => found.together[one.at][one.at]).sort((a, b) => b.images - a.images).slice(0, 14);
  const most = Math.max(1, ...used.flatMap((a) => used.map((b) => (a.at === b.at ? 0 : found.together[a.at][b.at]))));
  const head = el("tr", {}, el("th"), ...used.map((one) => el("th", { class: "turned", scope: "col" }, el("span", {}, label(one.name)))));
  const lines = used.map((a) => el("tr", {}, el("th", { scope: "row" }, label(a.name)), ...used.map((b) => {
    const count = found.together[a.at][b.at];
    const link = new URLSearchParams([["class", a.name], ["min", 1], ["max", ""], ["class", b.name], ["min", 1], ["max", ""]]);
    const cell = el("td", { class: "heat" }, count ? el("a", { href: `${setup.search}&${link}`, title: `${label(a.name)} + ${label(b.name)}` }, String(count)) : "");
    cell.style.setProperty("--heat", a.at === b.at ? 0 : Math.sqrt(count / most).toFixed(3));
    return cell;
  })));
  document.getElementById("together").replaceChildren(el("table", { class: "heats" }, el("thead", {}, head), el("tbody", {}, ...lines)));
}

draw();
ask(setup.charts).then((found) => { areas(found); together(found); }, (error) => notice(error.message));
