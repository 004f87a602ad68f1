// A class map in the browser: decoded once, then drawn, outlined, and cut into segments.

export class ClassMap {
  /** @param {string} url of the palette PNG  @param {Array} classes [{index, name, colour}] */
  static async load(url, classes) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`mask: ${answer.status}`);
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
    return new ClassMap(bitmap, classes);
  }

  constructor(bitmap, classes) {
    this.width = bitmap.width;
    this.height = bitmap.height;
    this.colours = new Map(classes.map((one) => [one.index, rgb(one.colour)]));
    const byColour = new Map(classes.map((one) => [key(...rgb(one.colour)), one.index]));
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const pixels = context.getImageData(0, 0, this.width, this.height).data;
    this.classes = new Uint8Array(this.width * this.height);
    for (let at = 0; at < this.classes.length; at += 1) {
      this.classes[at] = byColour.get(key(pixels[4 * at], pixels[4 * at + 1], pixels[4 * at + 2])) ?? 255;
    }
  }

  at(x, y) {
    return this.classes[y * this.width + x];
  }

  /** Whether a pixel's right or lower neighbour is of another class, or of another segment. */
  edge(at, inside = null) {
    const of = inside ?? this.classes;
    const x = at % this.width;
    return (x + 1 < this.width && of[at] !== of[at + 1])
      || (at + this.width < of.length && of[at] !== of[at + this.width]);
  }

  /** The connected segment around a pixel: which pixels, its class, share of the picture and box. */
  segment(x, y) {
    const wanted = this.at(x, y);
    const inside = new Uint8Array(this.classes.length);
    const todo = [y * this.width + x];
    inside[todo[0]] = 1;
    let count = 0;
    const box = [x, y, x, y];
    while (todo.length) {
      const at = todo.pop();
      const [px, py] = [at % this.width, Math.floor(at / this.width)];
      count += 1;
      box[0] = Math.min(box[0], px); box[1] = Math.min(box[1], py);
      box[2] = Math.max(box[2], px); box[3] = Math.max(box[3], py);
      const near = [];
      if (px > 0) near.push(at - 1);
      if (px + 1 < this.width) near.push(at + 1);
      if (py > 0) near.push(at - this.width);
      if (py + 1 < this.height) near.push(at + this.width);
      for (const next of near) {
        if (!inside[next] && this.classes[next] === wanted) { inside[next] = 1; todo.push(next); }
      }
    }
    return {
      inside,
      index: wanted,
      area: count / this.classes.length,
      box: [box[0] / this.width, box[1] / this.height, (box[2] + 1) / this.width, (box[3] + 1) / this.height],
    };
  }

  /** The segment that a stored region is: same class, same box. */
  segmentOf(region) {
    const [x0, y0, x1, y1] = region.box;
    for (let y = Math.floor(y0 * this.height); y < Math.ceil(y1 * this.height); y += 1) {
      for (let x = Math.floor(x0 * this.width); x < Math.ceil(x1 * this.width); x += 1) {
        if (x < this.width && y < this.height && this.at(x, y) === region.class) {
          const found = this.segment(x, y);
          if (sameBox(found.box, region.box)) return found;
        }
      }
    }
    return null;
  }

  /**
   * Draw onto a canvas of the map's own size.
   * @param {object} look {opacity 0..1, outlines, only: Set of classes or null, inside: mask or null}
   */
  draw(canvas, { opacity = 0.5, outlines = false, only = null, inside = null } = {}) {
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(this.width, this.height);
    const out = picture.data;
    for (let at = 0; at < this.classes.length; at += 1) {
      const index = this.classes[at];
      const shown = (!only || only.has(index)) && (!inside || inside[at]);
      const border = inside ? this.edge(at, inside) : outlines && this.edge(at);
      const [r, g, b] = this.colours.get(index) ?? [0, 0, 0];
      let alpha = shown ? 255 * opacity : 0;
      if (outlines && !inside) alpha = border && (!only || only.has(index)) ? 255 : 0;
      out[4 * at] = r; out[4 * at + 1] = g; out[4 * at + 2] = b; out[4 * at + 3] = alpha;
      if (inside && border) { out[4 * at] = out[4 * at + 1] = out[4 * at + 2] = 255; out[4 * at + 3] = 255; }
    }
    context.putImageData(picture, 0, 0);
  }
}

export function sameBox(a, b, within = 0.004) {
  return a.every((value, place) => Math.abs(value - b[place]) < within);
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function key(r, g, b) {
  return (r << 16) | (g << 8) | b;
}
