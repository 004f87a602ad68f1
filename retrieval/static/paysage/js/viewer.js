// The picture page: zoom and pan with the mask glued to the picture, classes, segments, confidence.
import { ask, data, notice, t, typing } from "./common.js";
import { ClassMap, sameBox } from "./mask.js";

class Viewer {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("#mask");
    this.classes = data("classes");
    this.regions = data("regions");
    this.names = new Map(this.classes.map((one) => [one.index, one.name]));
    this.look = { opacity: 0.45, outlines: false, only: null, inside: null };
    this.zoom = window.Panzoom(root.querySelector(".glued"), {
      maxScale: 10, minScale: 1, panOnlyWhenZoomed: true, step: 0.4, cursor: "default",
    });
    this.bind();
    this.open();
  }

  async open() {
    this.map = await ClassMap.load(this.canvas.dataset.src, this.classes);
    this.draw();
    this.canvas.dataset.ready = "1";
  }

  draw() {
    if (this.map) this.map.draw(this.canvas, this.look);
  }

  change(look) {
    Object.assign(this.look, look);
    this.draw();
  }

  bind() {
    const stage = this.root.querySelector(".stage");
    stage.addEventListener("wheel", (event) => { if (event.ctrlKey || this.zoom.getScale() > 1 || event.shiftKey) this.zoom.zoomWithWheel(event); }, { passive: false });
    let from = null;
    stage.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; });
    stage.addEventListener("pointerup", (event) => {
      if (from && Math.hypot(event.clientX - from[0], event.clientY - from[1]) < 5) this.clicked(event);
      from = null;
    });
    for (const button of this.root.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.step(button.dataset.zoom));
    }
    this.root.querySelector("#opacity").addEventListener("input", (event) => {
      this.change({ opacity: event.target.value / 100 });
    });
    for (const choice of this.root.querySelectorAll("[name=view]")) {
      choice.addEventListener("change", () => this.show(choice.value));
    }
    this.legend();
    for (const button of this.root.querySelectorAll("[data-region]")) {
      const region = this.regions.find((one) => one.number === Number(button.dataset.region));
      const pick = () => this.mark(region, this.map?.segmentOf(region));
      button.addEventListener("click", pick);
      button.addEventListener("focus", pick);
    }
    document.addEventListener("keydown", this.key = (event) => this.pressed(event));
  }

  legend() {
    for (const item of this.root.querySelectorAll(".legend li")) {
      const index = Number(item.dataset.class);
      const only = () => this.change({ only: new Set([index]), inside: null });
      const all = () => this.change({ only: null });
      item.addEventListener("mouseenter", only);
      item.addEventListener("focusin", only);
      item.addEventListener("mouseleave", all);
      item.addEventListener("focusout", all);
    }
  }

  step(way) {
    if (way === "in") this.zoom.zoomIn();
    else if (way === "out") this.zoom.zoomOut();
    else this.zoom.reset();
  }

  clicked(event) {
    if (!this.map) return;
    const frame = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) / frame.width) * this.map.width);
    const y = Math.floor(((event.clientY - frame.top) / frame.height) * this.map.height);
    if (x < 0 || y < 0 || x >= this.map.width || y >= this.map.height) return;
    const segment = this.map.segment(x, y);
    const region = this.regions.find((one) => one.class === segment.index && sameBox(one.box, segment.box));
    this.mark(region ?? null, segment);
  }

  mark(region, segment) {
    if (!segment) return;
    this.change({ inside: segment.inside, only: null });
    const said = this.root.querySelector("#segment");
    said.hidden = false;
    said.querySelector(".name").textContent = this.names.get(segment.index) ?? "?";
    said.querySelector(".share").textContent = `${(100 * segment.area).toFixed(1)} %`;
    const find = said.querySelector("a");
    find.hidden = !region;
    if (region) find.href = `${find.dataset.search}&region=${region.number}`;
    said.querySelector(".small").hidden = Boolean(region);
    for (const button of this.root.querySelectorAll("[data-region]")) {
      button.setAttribute("aria-pressed", String(region?.number === Number(button.dataset.region)));
    }
  }

  unmark() {
    this.change({ inside: null, only: null });
    this.root.querySelector("#segment").hidden = true;
  }

  async show(view) {
    const confidence = this.root.querySelector("#confidence");
    confidence.hidden = view !== "confidence";
    this.canvas.hidden = view === "photo" || view === "confidence";
    this.change({ outlines: view === "outlines" });
    if (view !== "confidence" || confidence.src) return;
    this.root.querySelector(".stage").setAttribute("aria-busy", "true");
    try {
      confidence.src = await stageUrl(confidence.dataset.ask, "confidence");
    } catch (error) {
      notice(error.message);
    }
    this.root.querySelector(".stage").removeAttribute("aria-busy");
  }

  pressed(event) {
    if (typing(event) || !this.root.isConnected) return;
    const views = { m: "mask", o: "outlines", c: "confidence", p: "photo" };
    if (event.key in views) this.root.querySelector(`[name=view][value=${views[event.key]}]`).click();
    else if (event.key === "+" || event.key === "=") this.step("in");
    else if (event.key === "-") this.step("out");
    else if (event.key === "0") this.step("reset");
    else if (event.key === "Escape") this.unmark();
    else if (event.key === "ArrowLeft") document.querySelector("[rel=prev]")?.click();
    else if (event.key === "ArrowRight") document.querySelector("[rel=next]")?.click();
  }
}

/** Address of one stage's picture, once a worker has drawn it. */
async function stageUrl(url, key) {
  let sheet = await ask(url, { method: "POST" });
  const started = Date.now();
  while (sheet.state === "queued") {
    if (Date.now() - started > 60_000) throw new Error(t("No worker answers; try again later."));
    await new Promise((done) => { setTimeout(done, 400); });
    sheet = await ask(url);
  }
  const stage = sheet.stages.find((one) => one.key === key);
  if (!stage) throw new Error(sheet.error);
  return stage.url;
}

function start(root) {
  const found = root.matches?.("[data-viewer]") ? root : root.querySelector?.("[data-viewer]");
  if (found && !found.dataset.started) {
    found.dataset.started = "1";
    new Viewer(found);
  }
}

start(document.body);
document.addEventListener("htmx:load", (event) => start(event.target));
