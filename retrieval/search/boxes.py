"""What a box over a picture looks like: its segments' vectors, by how much of the box each covers."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval.errors import QueryInvalid
from retrieval.models import Mask
from retrieval.search.fields import Box
from segmentation.describe import segments_of

Vector = NDArray[np.float64]


def class_map(mask: Mask) -> NDArray[np.uint8]:
    """uint8 (h, w) class indices of a stored mask."""
    with Pillow.open(io.BytesIO(bytes(mask.png))) as picture:
        return np.asarray(picture, np.uint8)


def covered(classes: NDArray[np.uint8], box: Box) -> dict[int, float]:
    """Share of a box that each region covers, by the region's number; the shares sum to 1.

    Regions are found again in the class map as they were when it was described, so that no map of
    their numbers has to be stored.
    """
    height, width = classes.shape
    x0, y0, x1, y1 = box
    top, left = int(y0 * height), int(x0 * width)
    inside = segments_of(classes).numbers[
        top : max(top + 1, round(y1 * height)), left : max(left + 1, round(x1 * width))
    ]
    numbers, counts = np.unique(inside, return_counts=True)
    return {int(n): float(c) / inside.size for n, c in zip(numbers, counts, strict=True)}


def box_vector(shares: Mapping[int, float], regions: Mapping[int, Vector]) -> Vector:
    """Σ_r share_r · norm_r · vector_r at length 1: W (v − μ) of the box, were regions uniform.

    Args:
        shares: of the box, by the region's number.
        regions: norm_r · vector_r by number.

    The same formula gives the whole picture's context from its regions, so a box around everything
    finds what the picture finds.

    Raises:
        QueryInvalid: nothing that was parsed lies in the box.
    """
    known = [share * regions[number] for number, share in shares.items() if number in regions]
    total: Vector = np.sum(known, axis=0) if known else np.zeros(1)
    norm = float(np.linalg.norm(total))
    if norm < 1e-9:
        raise QueryInvalid("There is nothing in this box to search with.", field="like")
    return total / norm
