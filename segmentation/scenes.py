"""Rendered outdoor scenes with exact masks: for the demo collection, tests and extra training data.

Pure NumPy: a scene is painted from back to front, each thing into image and mask alike, at twice the
size, and then halved: the image by averaging (so that edges are smooth), the mask by picking.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from segmentation.labels import STARTER

Floats = NDArray[np.float32]
Colour = tuple[float, float, float]

KINDS = ("street", "skyline", "park", "coast", "lake", "country road", "forest", "harbour")


@dataclass(frozen=True)
class Scene:
    """A rendered picture.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        mask: uint8 (H, W), indices of `segmentation.labels.STARTER`.
        kind: one of `KINDS`.
        title: for people.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    kind: str
    title: str


def _noise(
    shape: tuple[int, int], rng: np.random.Generator, octaves: int, stretch: float
) -> Floats:
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
        grain = 1 + texture * _noise(inside.shape, self.rng, octaves, stretch)
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


def _ridge(canvas: Canvas, base: float, height: float, roughness: int) -> Floats:
    steps = canvas.rng.normal(0, 1, (1, roughness)).astype(np.float32)
    line = np.asarray(Image.fromarray(steps).resize((canvas.width, 1), Image.Resampling.BICUBIC))[0]
    fine = np.repeat(canvas.rng.normal(0, 0.08, canvas.width // 4 + 1), 4)[: canvas.width]
    return (base - height * (0.5 + 0.35 * line + 0.12 * np.cumsum(fine) / 4)).astype(np.float32)


def _sky(c: Canvas) -> None:
    top, low = [
        ((0.25, 0.5, 0.86), (0.78, 0.87, 0.95)),
        ((0.55, 0.62, 0.72), (0.8, 0.82, 0.85)),
        ((0.3, 0.36, 0.6), (0.96, 0.72, 0.5)),
    ][int(c.rng.choice(3, p=[0.6, 0.2, 0.2]))]
    c.haze = low
    share = c.rows[..., None] ** 0.8
    sky = np.array(top, np.float32) * (1 - share) + np.array(low, np.float32) * share
    clouds = _noise((c.height, c.width), c.rng, 6, 2.4)
    cover = np.clip((clouds - c.rng.uniform(-0.2, 0.9)) * 0.7, 0, 0.9)[..., None]
    c.image[:] = sky * (1 - cover) + np.float32(0.97) * cover * (0.92 + 0.08 * (1 - share))
    c.mask[:] = STARTER.index("sky")


def _hills(c: Canvas, horizon: float, layers: int, name: str = "mountain") -> None:
    for layer in range(layers):
        depth = 1 - layer / max(1, layers)
        line = _ridge(c, horizon, 0.34 * depth + 0.05, 7 + 3 * layer)
        rock: Colour = (0.42, 0.4, 0.36) if name == "mountain" else (0.2, 0.33, 0.16)
        c.paint(c.below(line), name, rock, 0.16, haze=0.15 + 0.5 * depth)
        if name == "mountain" and layer == 0:
            snow = c.below(line) & (c.rows < np.minimum(line + 0.05, horizon - 0.2)[None, :])
            c.paint(snow, "mountain", (0.93, 0.95, 0.98), 0.06, haze=0.1)


def _ground(c: Canvas, horizon: float, name: str) -> None:
    colours: dict[str, Colour] = {
        "grass": (0.34, 0.48, 0.18),
        "road": (0.38, 0.38, 0.4),
        "pavement": (0.6, 0.57, 0.53),
        "water": (0.22, 0.4, 0.5),
    }
    where = c.rows >= np.full((1, c.width), horizon, np.float32)
    shade = 0.85 + 0.25 * (c.rows - horizon) + np.zeros((1, c.width), np.float32)
    c.paint(
        where,
        name,
        colours[name],
        0.1,
        shade.astype(np.float32),
        6,
        stretch=6 if name == "water" else 1.5,
    )


def _water(c: Canvas, horizon: float, shore: Floats | None = None) -> None:
    """Water from the horizon down to a shore, mirroring what stands above it."""
    line = np.full(c.width, 1.1, np.float32) if shore is None else shore
    where = (c.rows >= horizon) & (c.rows < line[None, :])
    start = int(horizon * c.height)
    mirrored = np.zeros_like(c.image)
    rows = np.clip(2 * start - np.arange(c.height), 0, max(start - 1, 0))
    mirrored[:] = c.image[rows]
    ripples = _noise((c.height, c.width), c.rng, 6, 8)
    water = np.array((0.16, 0.34, 0.42), np.float32) * c.light * (1 + 0.1 * ripples)[..., None]
    c.image[where] = (0.5 * mirrored + 0.5 * water)[where] * (1 + 0.05 * ripples[where])[..., None]
    c.mask[where] = STARTER.index("water")


def _tree(c: Canvas, x: float, foot: float, height: float) -> None:
    trunk = height * 0.05
    c.paint(
        c.shape(
            [
                (x - trunk / 2, foot),
                (x - trunk / 3, foot - height * 0.5),
                (x + trunk / 3, foot - height * 0.5),
                (x + trunk / 2, foot),
            ]
        ),
        "vegetation",
        (0.3, 0.22, 0.15),
        0.15,
    )
    green = (0.16 + c.rng.uniform(0, 0.12), 0.3 + c.rng.uniform(0, 0.14), 0.1)
    for _ in range(9):
        angle, far = c.rng.uniform(0, 6.28), c.rng.uniform(0, 0.22)
        lift = c.rng.uniform(0.45, 0.9)
        tone = 0.7 + 0.55 * lift
        radius = height * c.rng.uniform(0.14, 0.25)
        crown = c.ellipse(
            x + height * far * np.cos(angle) * 0.7, foot - height * lift, radius, radius * 0.85
        )
        c.paint(
            crown,
            "vegetation",
            (green[0] * tone, green[1] * tone, green[2] * tone),
            0.32,
            octaves=6,
        )


def _building(
    c: Canvas, left: float, right: float, top: float, foot: float, haze: float = 0.0
) -> None:
    walls: list[Colour] = [
        (0.72, 0.6, 0.48),
        (0.62, 0.4, 0.33),
        (0.78, 0.76, 0.7),
        (0.5, 0.53, 0.58),
        (0.83, 0.74, 0.56),
    ]
    wall = walls[int(c.rng.integers(len(walls)))]
    c.paint(
        c.shape([(left, foot), (left, top), (right, top), (right, foot)]),
        "building",
        wall,
        0.05,
        haze=haze,
    )
    if c.rng.random() < 0.5 and haze < 0.2:
        rise = min(0.07, (right - left) * 0.4)
        c.paint(
            c.shape([(left - 0.008, top), ((left + right) / 2, top - rise), (right + 0.008, top)]),
            "building",
            (0.42, 0.22, 0.18),
            0.1,
            haze=haze,
        )
    floors = max(2, int((foot - top) / 0.075))
    columns = max(2, int((right - left) / 0.045))
    glass: Colour = (0.18, 0.24, 0.32) if c.rng.random() < 0.8 else (0.85, 0.75, 0.45)
    for floor in range(floors):
        for column in range(columns):
            x = left + (column + 0.28) * (right - left) / columns
            y = top + (floor + 0.25) * (foot - top) / floors
            w, h = 0.45 * (right - left) / columns, 0.5 * (foot - top) / floors
            c.paint(
                c.shape([(x, y), (x + w, y), (x + w, y + h), (x, y + h)]),
                "building",
                glass,
                0.15,
                float(c.rng.uniform(0.7, 1.3)),
                octaves=2,
                haze=haze,
            )


def _row_of_buildings(c: Canvas, foot: float, tallest: float, haze: float = 0.0) -> None:
    x = -0.03
    while x < 1:
        width = c.rng.uniform(0.1, 0.22)
        _building(c, x, x + width, foot - tallest * c.rng.uniform(0.45, 1.0), foot, haze)
        x += width


def _car(c: Canvas, x: float, foot: float, size: float) -> None:
    paint: Colour = tuple(c.rng.uniform(0.1, 0.8, 3))  # type: ignore[assignment]
    aspect = c.height / c.width

    def at(points: list[tuple[float, float]]) -> NDArray[np.bool_]:
        return c.shape([(x + px * size * aspect, foot - py * size) for px, py in points])

    c.paint(
        at(
            [
                (-1, 0.12),
                (-1, 0.5),
                (-0.55, 0.55),
                (-0.35, 0.9),
                (0.4, 0.9),
                (0.7, 0.55),
                (1, 0.48),
                (1, 0.12),
            ]
        ),
        "car",
        paint,
        0.04,
    )
    c.paint(
        at([(-0.45, 0.56), (-0.3, 0.83), (0.35, 0.83), (0.58, 0.56)]), "car", (0.16, 0.2, 0.25), 0.1
    )
    for wheel in (-0.6, 0.6):
        c.paint(
            c.ellipse(x + wheel * size * aspect, foot - 0.14 * size, 0.17 * size, 0.17 * size),
            "car",
            (0.07, 0.07, 0.08),
            0.1,
        )


def _person(c: Canvas, x: float, foot: float, size: float) -> None:
    coat: Colour = tuple(c.rng.uniform(0.1, 0.75, 3))  # type: ignore[assignment]
    half = 0.13 * size * c.height / c.width
    for side in (-0.5, 0.45):
        c.paint(
            c.shape(
                [
                    (x + side * half - half * 0.3, foot),
                    (x + side * half - half * 0.3, foot - 0.48 * size),
                    (x + side * half + half * 0.35, foot - 0.48 * size),
                    (x + side * half + half * 0.35, foot),
                ]
            ),
            "person",
            (0.16, 0.17, 0.24),
            0.08,
        )
    c.paint(c.ellipse(x, foot - 0.62 * size, 0.14 * size, 0.22 * size), "person", coat, 0.1)
    c.paint(
        c.ellipse(x, foot - 0.9 * size, 0.075 * size, 0.09 * size),
        "person",
        (0.72, 0.53, 0.42),
        0.05,
    )


def _pole(c: Canvas, x: float, foot: float, size: float, sign: bool) -> None:
    c.paint(
        c.shape(
            [
                (x - 0.004, foot),
                (x - 0.003, foot - size),
                (x + 0.003, foot - size),
                (x + 0.004, foot),
            ]
        ),
        "pole",
        (0.45, 0.46, 0.47),
        0.05,
    )
    if sign:
        colour = [(0.8, 0.12, 0.12), (0.15, 0.3, 0.7), (0.92, 0.78, 0.15)][int(c.rng.integers(3))]
        c.paint(c.ellipse(x, foot - size, 0.05, 0.05), "sign", colour, 0.04)
        c.paint(c.ellipse(x, foot - size, 0.03, 0.03), "sign", (0.95, 0.95, 0.93), 0.03)


def _road(c: Canvas, horizon: float, pavement: bool) -> None:
    middle, spread = c.rng.uniform(0.4, 0.6), c.rng.uniform(0.35, 0.5)
    if pavement:
        c.paint(
            c.shape(
                [
                    (middle - 0.05, horizon),
                    (middle + 0.05, horizon),
                    (middle + spread * 1.9, 1.01),
                    (middle - spread * 1.9, 1.01),
                ]
            ),
            "pavement",
            (0.62, 0.59, 0.55),
            0.07,
            octaves=6,
        )
    c.paint(
        c.shape(
            [
                (middle - 0.02, horizon),
                (middle + 0.02, horizon),
                (middle + spread, 1.01),
                (middle - spread, 1.01),
            ]
        ),
        "road",
        (0.36, 0.36, 0.38),
        0.07,
        octaves=6,
    )
    for step in range(6):
        near, far = 0.12 + step * 0.15, 0.18 + step * 0.15
        ys = [horizon + (1 - horizon) * t**1.6 for t in (near, far)]
        ws = [0.004 + 0.012 * t for t in (near, far)]
        c.paint(
            c.shape(
                [
                    (middle - ws[0], ys[0]),
                    (middle + ws[0], ys[0]),
                    (middle + ws[1], ys[1]),
                    (middle - ws[1], ys[1]),
                ]
            ),
            "road",
            (0.86, 0.85, 0.8),
            0.04,
        )
    for _ in range(int(c.rng.integers(1, 4))):
        t = c.rng.uniform(0.15, 0.6)
        side = c.rng.choice([-0.5, 0.5])
        _car(c, middle + side * spread * t, horizon + (1 - horizon) * t, 0.05 + 0.17 * t)


def _fence(c: Canvas, foot: float, size: float) -> None:
    for x in np.arange(0.02, 1, 0.045):
        c.paint(
            c.shape([(x, foot), (x, foot - size), (x + 0.01, foot - size), (x + 0.01, foot)]),
            "fence",
            (0.5, 0.4, 0.3),
            0.1,
        )
    for rail in (0.35, 0.75):
        y = foot - size * rail
        c.paint(
            c.shape([(0, y), (1, y), (1, y + 0.012), (0, y + 0.012)]),
            "fence",
            (0.46, 0.37, 0.28),
            0.1,
        )


def _boat(c: Canvas, x: float, foot: float, size: float) -> None:
    hull: Colour = tuple(c.rng.uniform(0.2, 0.9, 3))  # type: ignore[assignment]
    c.paint(
        c.shape(
            [
                (x - size, foot - size * 0.35),
                (x + size, foot - size * 0.35),
                (x + size * 0.7, foot),
                (x - size * 0.75, foot),
            ]
        ),
        "boat",
        hull,
        0.06,
    )
    c.paint(
        c.shape(
            [(x, foot - size * 0.35), (x, foot - size * 2.2), (x + size * 0.8, foot - size * 0.5)]
        ),
        "boat",
        (0.93, 0.92, 0.88),
        0.03,
    )


def _trees(c: Canvas, count: int, foot: float, height: tuple[float, float]) -> None:
    for foot_y in np.sort(c.rng.uniform(foot, min(0.97, foot + 0.2), count)):
        _tree(
            c,
            c.rng.uniform(0, 1),
            float(foot_y),
            c.rng.uniform(*height) * (0.6 + float(foot_y) - foot),
        )


def _people(c: Canvas, count: int, foot: float) -> None:
    for y in np.sort(c.rng.uniform(foot, 0.97, count)):
        _person(c, c.rng.uniform(0.05, 0.95), float(y), 0.1 + 0.35 * (float(y) - foot))


def _compose(c: Canvas, kind: str) -> None:
    horizon = float(c.rng.uniform(0.45, 0.6))
    _sky(c)
    if kind == "street":
        _ground(c, horizon, "pavement")
        _row_of_buildings(c, horizon + 0.06, 0.5)
        _road(c, horizon + 0.02, True)
        _trees(c, int(c.rng.integers(0, 3)), horizon + 0.1, (0.3, 0.45))
        for _ in range(3):
            _pole(
                c,
                c.rng.uniform(0.02, 0.98),
                horizon + 0.2,
                c.rng.uniform(0.2, 0.4),
                c.rng.random() < 0.6,
            )
        _people(c, int(c.rng.integers(1, 5)), horizon + 0.12)
    elif kind == "skyline":
        _row_of_buildings(c, horizon + 0.05, 0.42, 0.35)
        _ground(c, horizon + 0.05, "grass")
        _row_of_buildings(c, horizon + 0.1, 0.28)
        _water(c, horizon + 0.1)
    elif kind == "park":
        _hills(c, horizon, 1, "vegetation")
        _ground(c, horizon, "grass")
        _trees(c, int(c.rng.integers(4, 9)), horizon + 0.04, (0.35, 0.6))
        _people(c, int(c.rng.integers(0, 4)), horizon + 0.15)
    elif kind in ("coast", "harbour"):
        if kind == "harbour":
            _row_of_buildings(c, horizon, 0.22, 0.1)
        else:
            _hills(c, horizon, 1)
        _water(c, horizon, _ridge(c, 1.0, 0.2, 5) if kind == "coast" else None)
        if kind == "coast":
            below = (c.mask == STARTER.index("sky")) & (c.rows > horizon)
            c.paint(below, "grass", (0.45, 0.5, 0.25), 0.12)
        for _ in range(int(c.rng.integers(1, 3)) + (3 if kind == "harbour" else 0)):
            _boat(
                c,
                c.rng.uniform(0.1, 0.9),
                c.rng.uniform(horizon + 0.04, 0.85),
                c.rng.uniform(0.03, 0.07),
            )
    elif kind == "lake":
        _hills(c, horizon, 3)
        _trees(c, 10, horizon - 0.02, (0.12, 0.2))
        _water(c, horizon + 0.02, _ridge(c, 1.0, 0.12, 4))
        c.paint(
            (c.mask == STARTER.index("sky")) & (c.rows > horizon), "grass", (0.4, 0.5, 0.2), 0.12
        )
    elif kind == "country road":
        _hills(c, horizon, 2)
        _ground(c, horizon, "grass")
        _road(c, horizon + 0.01, False)
        _fence(c, horizon + 0.12, 0.05)
        _trees(c, int(c.rng.integers(2, 6)), horizon + 0.03, (0.25, 0.4))
        _pole(c, c.rng.uniform(0.1, 0.9), horizon + 0.18, 0.3, True)
    else:
        _hills(c, horizon, 1, "vegetation")
        _ground(c, horizon, "grass")
        _trees(c, 26, horizon - 0.05, (0.4, 0.8))


def _develop(c: Canvas, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colour cast, vignette, grain, then half the size."""
    x = np.linspace(-1, 1, c.width, dtype=np.float32)[None, :]
    vignette = 1 - 0.16 * (x**2 + (2 * c.rows - 1) ** 2) / 2
    cast = np.array([1 + c.warmth, 1.0, 1 - c.warmth], np.float32)
    pixels = np.clip(c.image * cast * vignette[..., None], 0, 1) ** 0.95 * 255
    large = Image.fromarray(pixels.astype(np.uint8))
    small = large.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.5))
    grain = c.rng.normal(0, 2.2, (size[1], size[0], 1))
    image = np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8)
    return image, np.ascontiguousarray(c.mask[::2, ::2])


def render(seed: int, *, kind: str | None = None, size: tuple[int, int] = (480, 360)) -> Scene:
    """The scene of a seed; the same seed, kind and size give the same pixels.

    Args:
        kind: one of `KINDS`, or None: the seed's own.
        size: (width, height) in pixels.

    Raises:
        ValueError: there is no such kind.
    """
    rng = np.random.default_rng(seed)
    chosen = kind or KINDS[seed % len(KINDS)]
    if chosen not in KINDS:
        raise ValueError(f"no kind {chosen!r}; there are {', '.join(KINDS)}")
    canvas = Canvas((size[0] * 2, size[1] * 2), rng)
    _compose(canvas, chosen)
    image, mask = _develop(canvas, size)
    return Scene(image, mask, chosen, f"{chosen} {seed}")


def main() -> None:
    """`python -m segmentation.scenes --count 150 --out DIR --seed 0` writes NAME.jpg and NAME.png."""
    parser = argparse.ArgumentParser("python -m segmentation.scenes", description=main.__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(range(args.seed, args.seed + args.count), "rendering", unit="image"):
        scene = render(seed)
        name = scene.title.replace(" ", "-")
        Image.fromarray(scene.image).save(args.out / f"{name}.jpg", quality=92)
        Image.fromarray(scene.mask).save(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
