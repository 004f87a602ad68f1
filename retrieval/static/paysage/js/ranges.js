// Sliders for shares of classes, each before the collection's histogram.
import { ask, el, t } from "./common.js";

const STEP = 0.005;
const SVG = "http://www.w3.org/2000/svg";

export class Ranges {
  constructor(place, adder, setup, onChange) {
    Object.assign(this, { place, adder, setup, onChange, rows: [], histograms: null });
    adder.append(...setup.classes.map((one) => el("option", { value: one.name }, one.label)));
    adder.addEventListener("change", () => {
      if (adder.value) this.onChange([...this.rows, { name: adder.value, min: 0.05, max: 1 }]);
      adder.value = "";
    });
  }

  /** Ask for the histograms of what the filters leave; once for each set of filters. */
  async load(query) {
    const where = JSON.stringify(query.where ?? {});
    if (where === this.where) return;
    this.where = where;
    try {
      this.histograms = await ask(this.setup.urls.histograms, { method: "POST", body: { query: { where: query.where ?? {} } } });
      this.shown = null;
      this.show(this.rows);
    } catch { /* sliders work without what stands behind them */ }
  }

  show(rows) {
    const now = JSON.stringify(rows.map((row) => row.name));
    this.rows = rows;
    if (now !== this.shown) this.place.replaceChildren(...rows.map((row, at) => this.row(row, at)));
    this.shown = now;
    rows.forEach((row, at) => this.fill(this.place.children[at], row));
  }

  row(row, at) {
    const known = this.setup.classes.find((one) => one.name === row.name);
    const slider = (side, text) => {
      const input = el("input", { type: "range", min: 0, max: 1, step: STEP, "data-side": side, "aria-label": `${known?.label ?? row.name}: ${text}` });
      input.addEventListener("input", () => this.moved(item, at, side));
      input.addEventListener("change", () => this.onChange(this.rows));
      return input;
    };
    const item = el("div", { class: `range-row class-${known?.index}` },
      el("div", { class: "row tight between small" },
        el("span", { class: "row tight" }, el("span", { class: "dot" }), el("strong", {}, known?.label ?? row.name)),
        el("span", { class: "values" }),
        el("button", { type: "button", class: "quiet small", "aria-label": t("Leave out %s", known?.label ?? row.name), onclick: () => this.onChange(this.rows.filter((_, other) => other !== at)) }, "×")),
      this.histogram(row.name),
      el("div", { class: "twin" }, slider("min", t("at least")), slider("max", t("at most"))));
    return item;
  }

  fill(item, row) {
    const [low, high] = [row.min ?? 0, row.max ?? 1];
    item.querySelector("[data-side=min]").value = low;
    item.querySelector("[data-side=max]").value = high;
    item.querySelector(".values").textContent = `${(100 * low).toFixed(1)} – ${(100 * high).toFixed(1)} %`;
    const bins = item.querySelectorAll("rect");
    bins.forEach((bin, place) => {
      bin.classList.toggle("inside", (place + 1) / bins.length > low && place / bins.length <= high);
    });
  }

  moved(item, at, side) {
    const values = Object.fromEntries(["min", "max"].map((one) => [one, Number(item.querySelector(`[data-side=${one}]`).value)]));
    if (values.min > values.max) values[side === "min" ? "max" : "min"] = values[side];
    this.rows[at] = { ...this.rows[at], ...values };
    this.fill(item, this.rows[at]);
  }

  histogram(name) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "histogram");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const counts = this.histograms?.classes.find((one) => one.name === name)?.counts ?? [];
    svg.setAttribute("viewBox", `0 0 ${counts.length || 1} 1`);
    // Roots, because most pictures hold little of a class and the tall first bin would hide the rest.
    const most = Math.sqrt(Math.max(1, ...counts));
    counts.forEach((count, place) => {
      const bar = document.createElementNS(SVG, "rect");
      const height = Math.sqrt(count) / most;
      for (const [key, value] of Object.entries({ x: place + 0.05, y: 1 - height, width: 0.9, height })) bar.setAttribute(key, value);
      const title = document.createElementNS(SVG, "title");
      title.textContent = String(count);
      bar.append(title);
      svg.append(bar);
    });
    return svg;
  }
}
