// Painting a scene on an 8×8 grid: brushes of the release's classes, sizes, fill, undo, keyboard.
import { ask, el, notice, t } from "./common.js";

const SIDE = 8;

export class Painting {
  constructor(place, setup, onChange, examples) {
    Object.assign(this, { setup, onChange, examples, cells: new Map(), past: [], tool: "brush", size: 1 });
    this.brush = setup.classes.find((one) => one.name === "sky")?.name ?? setup.classes[0].name;
    this.index = new Map(setup.classes.map((one) => [one.name, one.index]));
    this.build(place);
  }

  build(place) {
    this.grid = el("div", { class: "canvas", role: "grid", "aria-label": t("Scene of 8 by 8 cells") });
    for (let row = 0; row < SIDE; row += 1) {
      const line = el("div", { role: "row" });
      for (let column = 0; column < SIDE; column += 1) {
        line.append(el("button", { type: "button", role: "gridcell", "data-row": row, "data-column": column, tabindex: row || column ? -1 : 0 }));
      }
      this.grid.append(line);
    }
    const brushes = el("div", { class: "brushes", role: "radiogroup", "aria-label": t("Brush") },
      ...this.setup.classes.map((one) => el("button", { type: "button", class: `chip class-${one.index}`, role: "radio", "data-brush": one.name, "aria-checked": String(one.name === this.brush), onclick: () => this.choose(one.name) }, el("span", { class: "dot" }), one.label)));
    const tools = el("div", { class: "row tight" },
      el("select", { "aria-label": t("Tool"), onchange: (event) => { this.tool = event.target.value; } },
        el("option", { value: "brush" }, t("brush")), el("option", { value: "fill" }, t("fill")), el("option", { value: "erase" }, t("erase"))),
      el("select", { "aria-label": t("Size"), onchange: (event) => { this.size = Number(event.target.value); } },
        ...[1, 2, 3].map((size) => el("option", { value: size }, `${size} × ${size}`))),
      el("button", { type: "button", class: "quiet small", onclick: () => this.undo() }, t("Undo")),
      el("button", { type: "button", class: "quiet small", onclick: () => this.begin() || this.set(new Map()) }, t("Blank")),
      el("button", { type: "button", class: "quiet small", onclick: () => this.start() }, t("Start from the example")));
    this.brushes = brushes;
    place.append(brushes, this.grid, tools);
    this.grid.addEventListener("pointerdown", (event) => this.pressed(event));
    this.grid.addEventListener("pointerover", (event) => { if (this.painting && event.target.dataset.row) this.apply(event.target); });
    document.addEventListener("pointerup", () => { if (this.painting) { this.painting = false; this.tell(); } });
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  choose(name) {
    this.brush = name;
    for (const one of this.brushes.children) one.setAttribute("aria-checked", String(one.dataset.brush === name));
  }

  pressed(event) {
    if (event.target.dataset.row === undefined) return;
    event.preventDefault();
    event.target.focus();
    this.begin();
    this.painting = true;
    this.apply(event.target);
  }

  begin() {
    this.past.push(new Map(this.cells));
    if (this.past.length > 100) this.past.shift();
  }

  undo() {
    const before = this.past.pop();
    if (before) this.set(before);
  }

  set(cells) {
    this.cells = cells;
    this.draw();
    this.tell();
  }

  apply(cell, tool = this.tool) {
    const [row, column] = [Number(cell.dataset.row), Number(cell.dataset.column)];
    if (tool === "fill") this.fill(row, column);
    else {
      for (let y = row; y < Math.min(SIDE, row + this.size); y += 1) {
        for (let x = column; x < Math.min(SIDE, column + this.size); x += 1) {
          if (tool === "erase") this.cells.delete(`${y},${x}`);
          else this.cells.set(`${y},${x}`, this.brush);
        }
      }
    }
    this.draw();
  }

  fill(row, column) {
    const from = this.cells.get(`${row},${column}`);
    if (from === this.brush) return;
    const todo = [[row, column]];
    while (todo.length) {
      const [y, x] = todo.pop();
      if (y < 0 || x < 0 || y >= SIDE || x >= SIDE || this.cells.get(`${y},${x}`) !== from) continue;
      this.cells.set(`${y},${x}`, this.brush);
      todo.push([y - 1, x], [y + 1, x], [y, x - 1], [y, x + 1]);
    }
  }

  key(event) {
    const cell = event.target;
    if (cell.dataset.row === undefined) return;
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in steps) {
      event.preventDefault();
      const [down, right] = steps[event.key];
      this.at(Number(cell.dataset.row) + down, Number(cell.dataset.column) + right)?.focus();
    } else if (event.key === " " || event.key === "Enter" || event.key === "e" || event.key === "Delete") {
      event.preventDefault();
      this.begin();
      this.apply(cell, ["e", "Delete"].includes(event.key) ? "erase" : this.tool);
      this.tell();
    } else if (event.key === "z") this.undo();
  }

  at(row, column) {
    return this.grid.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  }

  async start() {
    const [image] = this.examples();
    if (!image) {
      notice(t("Drop or choose a picture first."));
      return;
    }
    try {
      const found = await ask(`${this.setup.urls.layout}?image=${image}`);
      this.begin();
      this.set(new Map(found.cells.map(([row, column, name]) => [`${row},${column}`, name])));
    } catch (error) {
      notice(error.message);
    }
  }

  /** Take over cells from the address, without telling anybody. */
  read(cells) {
    this.cells = new Map(cells.map(([row, column, name]) => [`${row},${column}`, name]));
    this.draw();
  }

  tell() {
    this.onChange([...this.cells].map(([at, name]) => [...at.split(",").map(Number), name]));
  }

  draw() {
    for (const cell of this.grid.querySelectorAll("[data-row]")) {
      const name = this.cells.get(`${cell.dataset.row},${cell.dataset.column}`);
      cell.className = name ? `class-${this.index.get(name)} painted` : "";
      const shown = name ? this.setup.classes.find((one) => one.name === name)?.label ?? name : t("anything");
      cell.setAttribute("aria-label", `${Number(cell.dataset.row) + 1}, ${Number(cell.dataset.column) + 1}: ${shown}`);
      cell.title = shown;
    }
  }
}
