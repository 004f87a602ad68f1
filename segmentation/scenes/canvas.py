"""What scenes are painted on: image and mask together, and noise to paint with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segmentation.labels import STARTER

Floats = NDArray[np.float32]
Colour = tuple[float, float, float]


def noise(shape: tuple[int, int], rng: np.random.Generator, octaves: int, stretch: float) -> Floats:
    """Smooth noise around 0: random grids of doubling fineness, each half as strong."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows = max(2, int(3 * 2**octave))
        columns = max(2, int(3 * 2**octave * width / height / stretch))
        grid = Image.fromarray(rng.normal(0, 1, (rows, columns)).astype(np.float32))
        layer = np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
        total += layer / 2**octave
    return total


class Canvas:
    """Image and mask that things are painted on, back to front."""

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.width, self.height = size
        self.rng = rng
        self.image = np.zeros((self.height, self.width, 3), np.float32)
        self.mask = np.zeros((self.height, self.width), np.uint8)
        self.rows = np.linspace(0, 1, self.height, dtype=np.float32)[:, None]
        self.warmth = rng.uniform(-0.06, 0.1)
        self.light = rng.uniform(0.75, 1.08)
        self.haze: Colour = (0.78, 0.84, 0.9)

    def paint(
        self,
        where: NDArray[np.bool_],
        name: str,
        colour: Colour,
        texture: float = 0.05,
        shade: Floats | float = 1.0,
        octaves: int = 5,
        stretch: float = 1.0,
        haze: float = 0.0,
    ) -> None:
        """Cover `where`, (H, W), with a textured colour (0..1), dimmed by `shade`, behind `haze`."""
        if not where.any():
            return
        ys, xs = np.where(where.any(1))[0], np.where(where.any(0))[0]
        box = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
        inside = where[box]
        grain = 1 + texture * noise(inside.shape, self.rng, octaves, stretch)
        dim = shade[box] if isinstance(shade, np.ndarray) and shade.shape == where.shape else shade
        base = np.array(colour, np.float32) * self.light * (grain * dim)[..., None]
        base = base * (1 - haze) + np.array(self.haze, np.float32) * haze
        self.image[box][inside] = base[inside]
        self.mask[box][inside] = STARTER.index(name)

    def shape(self, points: list[tuple[float, float]]) -> NDArray[np.bool_]:
        """A polygon with corners in shares of width and height, bool (H, W)."""
        layer = Image.new("1", (self.width, self.height))
        corners = [(x * self.width, y * self.height) for x, y in points]
        ImageDraw.Draw(layer).polygon(corners, fill=1)
        return np.asarray(layer)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> NDArray[np.bool_]:
        """An ellipse, radii in shares of the height."""
        layer = Image.new("1", (self.width, self.height))
        cx, cy, h = x * self.width, y * self.height, self.height
        ImageDraw.Draw(layer).ellipse((cx - rx * h, cy - ry * h, cx + rx * h, cy + ry * h), fill=1)
        return np.asarray(layer)

    def below(self, ridge: Floats) -> NDArray[np.bool_]:
        """Everything under a line, given as a share of the height for each column."""
        found: NDArray[np.bool_] = self.rows >= ridge[None, :]
        return found


def ridge(canvas: Canvas, base: float, height: float, roughness: int) -> Floats:
    steps = canvas.rng.normal(0, 1, (1, roughness)).astype(np.float32)
    line = np.asarray(Image.fromarray(steps).resize((canvas.width, 1), Image.Resampling.BICUBIC))[0]
    fine = np.repeat(canvas.rng.normal(0, 0.08, canvas.width // 4 + 1), 4)[: canvas.width]
    return (base - height * (0.5 + 0.35 * line + 0.12 * np.cumsum(fine) / 4)).astype(np.float32)
