"""Rendered outdoor scenes with exact masks: for the demo collection, tests and extra training data.

Pure NumPy: a scene is painted from back to front, each thing into image and mask alike, at twice the
size, and then halved: the image by averaging (so that edges are smooth), the mask by picking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from segmentation.labels import STARTER
from segmentation.scenes.backdrop import ground, hills, road, sky, water
from segmentation.scenes.canvas import Canvas, ridge
from segmentation.scenes.things import (
    boat,
    fence,
    people,
    pole,
    row_of_buildings,
    trees,
)

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


def _compose(c: Canvas, kind: str) -> None:
    horizon = float(c.rng.uniform(0.45, 0.6))
    sky(c)
    if kind == "street":
        ground(c, horizon, "pavement")
        row_of_buildings(c, horizon + 0.06, 0.5)
        road(c, horizon + 0.02, True)
        trees(c, int(c.rng.integers(0, 3)), horizon + 0.1, (0.3, 0.45))
        for _ in range(3):
            pole(
                c,
                c.rng.uniform(0.02, 0.98),
                horizon + 0.2,
                c.rng.uniform(0.2, 0.4),
                c.rng.random() < 0.6,
            )
        people(c, int(c.rng.integers(1, 5)), horizon + 0.12)
    elif kind == "skyline":
        row_of_buildings(c, horizon + 0.05, 0.42, 0.35)
        ground(c, horizon + 0.05, "grass")
        row_of_buildings(c, horizon + 0.1, 0.28)
        water(c, horizon + 0.1)
    elif kind == "park":
        hills(c, horizon, 1, "vegetation")
        ground(c, horizon, "grass")
        trees(c, int(c.rng.integers(4, 9)), horizon + 0.04, (0.35, 0.6))
        people(c, int(c.rng.integers(0, 4)), horizon + 0.15)
    elif kind in ("coast", "harbour"):
        if kind == "harbour":
            row_of_buildings(c, horizon, 0.22, 0.1)
        else:
            hills(c, horizon, 1)
        water(c, horizon, ridge(c, 1.0, 0.2, 5) if kind == "coast" else None)
        if kind == "coast":
            below = (c.mask == STARTER.index("sky")) & (c.rows > horizon)
            c.paint(below, "grass", (0.45, 0.5, 0.25), 0.12)
        for _ in range(int(c.rng.integers(1, 3)) + (3 if kind == "harbour" else 0)):
            boat(
                c,
                c.rng.uniform(0.1, 0.9),
                c.rng.uniform(horizon + 0.04, 0.85),
                c.rng.uniform(0.03, 0.07),
            )
    elif kind == "lake":
        hills(c, horizon, 3)
        trees(c, 10, horizon - 0.02, (0.12, 0.2))
        water(c, horizon + 0.02, ridge(c, 1.0, 0.12, 4))
        c.paint(
            (c.mask == STARTER.index("sky")) & (c.rows > horizon), "grass", (0.4, 0.5, 0.2), 0.12
        )
    elif kind == "country road":
        hills(c, horizon, 2)
        ground(c, horizon, "grass")
        road(c, horizon + 0.01, False)
        fence(c, horizon + 0.12, 0.05)
        trees(c, int(c.rng.integers(2, 6)), horizon + 0.03, (0.25, 0.4))
        pole(c, c.rng.uniform(0.1, 0.9), horizon + 0.18, 0.3, True)
    else:
        hills(c, horizon, 1, "vegetation")
        ground(c, horizon, "grass")
        trees(c, 26, horizon - 0.05, (0.4, 0.8))


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
