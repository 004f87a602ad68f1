// Choosing a part of an example: a segment by a click or from a list, or a box by dragging.
import { el, t } from "./common.js";
import { ClassMap, sameBox } from "./mask.js";

export async function pickPart(dialog, setup, picture, example) {
  const body = dialog.querySelector("div:last-of-type");
  const names = new Map(setup.classes.map((one) => [one.index, one]));
  const canvas = el("canvas", { role: "img", "aria-label": t("Class map of the picture") });
  const frame = el("div", { class: "glued picking" }, el("img", { class: "photo", src: picture.large, alt: picture.title, draggable: "false" }), canvas);
  frame.style.setProperty("--ratio", picture.width_px / picture.height_px);
  const limit = el("input", { type: "checkbox" });
  const said = el("p", { class: "soft", role: "status" }, t("Nothing chosen: the whole picture counts."));
  const list = el("div", { class: "row tight" });
  let part = null;

  const choose = (made, text, look) => {
    part = made;
    said.textContent = text;
    map?.draw(canvas, look);
  };
  const chooseRegion = (region, segment) => {
    const known = names.get(region.class);
    choose({ region: region.number }, `${known?.label ?? t("the rest")}, ${(100 * region.area).toFixed(1)} %`, { opacity: 0.5, inside: segment?.inside ?? null });
    part.className = known?.name;
    for (const button of list.children) button.setAttribute("aria-pressed", String(Number(button.dataset.region) === region.number));
  };

  let map = null;
  ClassMap.load(picture.mask, setup.classes).then((loaded) => { map = loaded; map.draw(canvas, { opacity: 0.35 }); });
  for (const region of picture.regions.filter((one) => one.class !== null)) {
    const known = names.get(region.class);
    list.append(el("button", { type: "button", class: `chip class-${region.class}`, "data-region": region.number, "aria-pressed": String(example.region === region.number), onclick: () => chooseRegion(region, map?.segmentOf(region)) }, el("span", { class: "dot" }), `${known?.label} ${(100 * region.area).toFixed(1)} %`));
  }

  const place = (event) => {
    const at = canvas.getBoundingClientRect();
    return [Math.min(1, Math.max(0, (event.clientX - at.left) / at.width)), Math.min(1, Math.max(0, (event.clientY - at.top) / at.height))];
  };
  let from = null;
  canvas.addEventListener("pointerdown", (event) => { from = place(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => { if (from) drawBox(canvas, map, from, place(event)); });
  canvas.addEventListener("pointerup", (event) => {
    const to = place(event);
    const box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
    from = null;
    if (box[2] - box[0] > 0.02 && box[3] - box[1] > 0.02) {
      choose({ box: box.map((value) => Number(value.toFixed(4))) }, t("A box of %s % of the picture", (100 * (box[2] - box[0]) * (box[3] - box[1])).toFixed(1)), { opacity: 0.35 });
      drawBox(canvas, map, box.slice(0, 2), box.slice(2));
      return;
    }
    if (!map) return;
    const segment = map.segment(Math.min(map.width - 1, Math.floor(to[0] * map.width)), Math.min(map.height - 1, Math.floor(to[1] * map.height)));
    const region = picture.regions.find((one) => one.class === segment.index && sameBox(one.box, segment.box));
    if (region) chooseRegion(region, segment);
    else said.textContent = t("Segments under 1 % are not searched by.");
  });

  body.replaceChildren(frame, list, said,
    el("form", { method: "dialog", class: "row tight" },
      el("label", { class: "row tight" }, limit, el("span", {}, t("only segments of its class"))),
      el("button", { value: "ok" }, t("Search with this part")),
      el("button", { value: "whole", class: "quiet" }, t("The whole picture"))));
  return new Promise((done) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "whole") { done({}); return; }
      if (dialog.returnValue !== "ok" || !part) { done(null); return; }
      const { className, ...found } = part;
      done(limit.checked && className ? { ...found, class: className } : found);
    }, { once: true });
    dialog.showModal();
  });
}

function drawBox(canvas, map, a, b) {
  if (!map) return;
  map.draw(canvas, { opacity: 0.35 });
  const context = canvas.getContext("2d");
  const [x, y] = [Math.min(a[0], b[0]) * canvas.width, Math.min(a[1], b[1]) * canvas.height];
  context.lineWidth = 3;
  context.strokeStyle = "#fff";
  context.strokeRect(x, y, Math.abs(a[0] - b[0]) * canvas.width, Math.abs(a[1] - b[1]) * canvas.height);
}
