"""What fills a scene from edge to edge: sky, hills, ground, water, road."""

from __future__ import annotations

import numpy as np

from segmentation.labels import STARTER
from segmentation.scenes.canvas import Canvas, Colour, Floats, noise, ridge
from segmentation.scenes.things import car


def sky(c: Canvas) -> None:
    top, low = [
        ((0.25, 0.5, 0.86), (0.78, 0.87, 0.95)),
        ((0.55, 0.62, 0.72), (0.8, 0.82, 0.85)),
        ((0.3, 0.36, 0.6), (0.96, 0.72, 0.5)),
    ][int(c.rng.choice(3, p=[0.6, 0.2, 0.2]))]
    c.haze = low
    share = c.rows[..., None] ** 0.8
    sky = np.array(top, np.float32) * (1 - share) + np.array(low, np.float32) * share
    clouds = noise((c.height, c.width), c.rng, 6, 2.4)
    cover = np.clip((clouds - c.rng.uniform(-0.2, 0.9)) * 0.7, 0, 0.9)[..., None]
    c.image[:] = sky * (1 - cover) + np.float32(0.97) * cover * (0.92 + 0.08 * (1 - share))
    c.mask[:] = STARTER.index("sky")


def hills(c: Canvas, horizon: float, layers: int, name: str = "mountain") -> None:
    for layer in range(layers):
        depth = 1 - layer / max(1, layers)
        line = ridge(c, horizon, 0.34 * depth + 0.05, 7 + 3 * layer)
        rock: Colour = (0.42, 0.4, 0.36) if name == "mountain" else (0.2, 0.33, 0.16)
        c.paint(c.below(line), name, rock, 0.16, haze=0.15 + 0.5 * depth)
        if name == "mountain" and layer == 0:
            snow = c.below(line) & (c.rows < np.minimum(line + 0.05, horizon - 0.2)[None, :])
            c.paint(snow, "mountain", (0.93, 0.95, 0.98), 0.06, haze=0.1)


def ground(c: Canvas, horizon: float, name: str) -> None:
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


def water(c: Canvas, horizon: float, shore: Floats | None = None) -> None:
    """Water from the horizon down to a shore, mirroring what stands above it."""
    line = np.full(c.width, 1.1, np.float32) if shore is None else shore
    where = (c.rows >= horizon) & (c.rows < line[None, :])
    start = int(horizon * c.height)
    mirrored = np.zeros_like(c.image)
    rows = np.clip(2 * start - np.arange(c.height), 0, max(start - 1, 0))
    mirrored[:] = c.image[rows]
    ripples = noise((c.height, c.width), c.rng, 6, 8)
    water = np.array((0.16, 0.34, 0.42), np.float32) * c.light * (1 + 0.1 * ripples)[..., None]
    c.image[where] = (0.5 * mirrored + 0.5 * water)[where] * (1 + 0.05 * ripples[where])[..., None]
    c.mask[where] = STARTER.index("water")


def road(c: Canvas, horizon: float, pavement: bool) -> None:
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
        car(c, middle + side * spread * t, horizon + (1 - horizon) * t, 0.05 + 0.17 * t)
