"""Class maps in COCO's forms: run lengths, compressed run lengths, polygons. NumPy only.

The forms are those of the COCO API's `maskApi.c` (Lin et al., Microsoft COCO, ECCV 2014).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Binary = NDArray[np.bool_]
Ring = list[tuple[int, int]]


def class_map(png: bytes) -> NDArray[np.uint8]:
    """uint8 (H, W) class indices of a stored mask."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture, np.uint8)


def run_lengths(mask: Binary) -> list[int]:
    """Lengths of runs in column order, beginning with zeros (0 when the first pixel is set)."""
    flat = mask.T.ravel()  # column by column, as COCO does
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate(([0], changes, [flat.size]))
    lengths: list[int] = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else lengths


def compressed(counts: list[int]) -> str:
    """COCO's text for run lengths: differences to the run before last, 5 bits a character."""
    text = []
    for position, count in enumerate(counts):
        value = count - counts[position - 2] if position > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


def decompressed(text: str) -> list[int]:
    """Run lengths from COCO's text: the inverse of `compressed`."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts


def mask_of(counts: list[int], height_px: int, width_px: int) -> Binary:
    """bool (H, W) from run lengths."""
    values = np.arange(len(counts)) % 2 == 1
    flat = np.repeat(values, counts)
    return flat.reshape(width_px, height_px).T


def box_of(mask: Binary) -> list[int]:
    """[x, y, width, height] in pixels of the set pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def class_masks(classes: NDArray[np.uint8]) -> Iterator[tuple[int, Binary, dict[str, Any]]]:
    """Of each class in the map: index, bool (H, W), and COCO's fields but the segmentation."""
    for index in np.unique(classes).tolist():
        mask = classes == index
        yield index, mask, {"area": int(mask.sum()), "bbox": box_of(mask), "iscrowd": 1}


# --- polygons ----------------------------------------------------------------------------------


def _edges(mask: Binary) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Sides between a set and an unset pixel, from corner to corner, the set pixel to the right."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    sides = (  # which neighbour is unset, and the side's first and last corner from the pixel's (x, y)
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for neighbour, (x0, y0), (x1, y1) in sides:
        ys, xs = np.nonzero(inner & ~neighbour)
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            edges.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    return edges


def _next(
    edges: dict[tuple[int, int], list[tuple[int, int]]],
    before: tuple[int, int],
    here: tuple[int, int],
) -> tuple[int, int]:
    """The side that goes on from `here`; where two pixels touch by a corner, the right turn."""
    ways = edges[here]
    if len(ways) == 1:
        return edges.pop(here)[0]
    dx, dy = here[0] - before[0], here[1] - before[1]
    right = (here[0] - dy, here[1] + dx)
    ways.remove(right)
    return right


def rings(mask: Binary) -> list[Ring]:
    """Corners (x, y) in pixels of the borders around set pixels, exact to the pixel.

    Outer borders run clockwise (as one sees them, y down), holes the other way; pixels that touch
    by a corner only are apart. Filling by the even-odd rule gives the mask back.
    """
    edges = _edges(mask)
    found: list[Ring] = []
    while edges:
        start = next(iter(edges))
        before, here = start, edges[start].pop(0)
        if not edges[start]:
            del edges[start]
        path = [start]
        while here != start:
            path.append(here)
            before, here = here, _next(edges, before, here)
        found.append(_corners(path))
    return found


def _corners(path: Ring) -> Ring:
    """The path without the points in the middle of straight lines."""
    kept = []
    for position, (x, y) in enumerate(path):
        (px, py), (nx, ny) = path[position - 1], path[(position + 1) % len(path)]
        if (x - px) * (ny - y) != (y - py) * (nx - x):
            kept.append((x, y))
    return kept


def signed_area(ring: Ring) -> float:
    """Shoelace formula; positive for outer borders of `rings`, negative for holes."""
    points = np.asarray(ring, np.float64)
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def polygons(mask: Binary) -> tuple[list[list[int]], list[list[int]]]:
    """Outer borders and holes, each as COCO's flat [x1, y1, x2, y2, …] in pixels."""
    outer: list[list[int]] = []
    holes: list[list[int]] = []
    for ring in rings(mask):
        flat = [value for point in ring for value in point]
        (outer if signed_area(ring) > 0 else holes).append(flat)
    return outer, holes
