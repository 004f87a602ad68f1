"""What stands in a scene: trees, buildings, cars, people, poles, fences, boats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation.scenes.canvas import Canvas, Colour


def tree(c: Canvas, x: float, foot: float, height: float) -> None:
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


def building(
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


def row_of_buildings(c: Canvas, foot: float, tallest: float, haze: float = 0.0) -> None:
    x = -0.03
    while x < 1:
        width = c.rng.uniform(0.1, 0.22)
        building(c, x, x + width, foot - tallest * c.rng.uniform(0.45, 1.0), foot, haze)
        x += width


def car(c: Canvas, x: float, foot: float, size: float) -> None:
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


def person(c: Canvas, x: float, foot: float, size: float) -> None:
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


def pole(c: Canvas, x: float, foot: float, size: float, sign: bool) -> None:
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


def fence(c: Canvas, foot: float, size: float) -> None:
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


def boat(c: Canvas, x: float, foot: float, size: float) -> None:
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


def trees(c: Canvas, count: int, foot: float, height: tuple[float, float]) -> None:
    for foot_y in np.sort(c.rng.uniform(foot, min(0.97, foot + 0.2), count)):
        tree(
            c,
            c.rng.uniform(0, 1),
            float(foot_y),
            c.rng.uniform(*height) * (0.6 + float(foot_y) - foot),
        )


def people(c: Canvas, count: int, foot: float) -> None:
    for y in np.sort(c.rng.uniform(foot, 0.97, count)):
        person(c, c.rng.uniform(0.05, 0.95), float(y), 0.1 + 0.35 * (float(y) - foot))
