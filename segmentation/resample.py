"""Resizing as the published PSPNets do it: each was trained and measured with one of these filters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rgb = NDArray[np.uint8]
Floats = NDArray[np.float32]
Pixels = Rgb | Floats
Size = tuple[int, int]

_SHARE_BITS = 11  # OpenCV's fixed point: shares of the two neighbours are multiples of 1/2048


def _neighbours(
    source: int, target: int, kind: type[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Lower neighbour of each target pixel (may be -1) and the upper neighbour's share.

    Half-pixel centres. OpenCV rounds positions to float32 for uint8 pixels and keeps them double
    for float ones; `kind` is that type.
    """
    scale = 1.0 / (target / source)
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(kind)
    lower = np.floor(position)
    return lower.astype(np.intp), (position - lower).astype(np.float32)


def _inside(lower: NDArray[np.intp], source: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.clip(lower, 0, source - 1), np.clip(lower + 1, 0, source - 1)


def _fixed(share: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    one = np.float32(1 << _SHARE_BITS)
    below, above = np.rint((np.float32(1) - share) * one), np.rint(share * one)
    return below.astype(np.int32), above.astype(np.int32)


def bilinear_uint8(image: Rgb, size: Size) -> Rgb:
    """`cv2.resize(image, INTER_LINEAR)` of uint8 (H, W, 3), bit for bit.

    No antialiasing; fixed-point arithmetic with 11 bits, of which the vertical pass drops some.
    Halving both sides exactly is an average of 2×2 pixels there, and so it is here.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    if (height, width) == (2 * size[0], 2 * size[1]):
        blocks = image.reshape(size[0], 2, size[1], 2, 3).astype(np.uint16).sum((1, 3))
        return ((blocks + 2) >> 2).astype(np.uint8)
    left, share = _neighbours(width, size[1], np.float32)
    # Outside the picture the border's own pixel counts whole, in this direction only.
    share = np.where((left < 0) | (left >= width - 1), np.float32(0), share)
    (left, right), (below, above) = _inside(left, width), _fixed(share)
    wide = image.astype(np.int32)
    rows = (wide[:, left] * below[:, None] + wide[:, right] * above[:, None]) >> 4
    top, share = _neighbours(height, size[0], np.float32)
    (top, bottom), (below, above) = _inside(top, height), _fixed(share)
    upper = (rows[top] * below[:, None, None]) >> 16
    lower = (rows[bottom] * above[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _between(first: Floats, second: Floats, share: NDArray[np.float32]) -> Floats:
    # One rounding, as of a fused multiply-add: what OpenCV's vectorised code does.
    between = first + (second - first).astype(np.float64) * share
    return between.astype(np.float32)


def bilinear_float(image: Rgb, size: Size) -> Floats:
    """`cv2.resize` of the picture as float32: bilinear, not rounded, no antialiasing."""
    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    left, share = _neighbours(width, size[1], np.float64)
    first, second = _inside(left, width)
    rows = _between(pixels[:, first], pixels[:, second], share[:, None])
    top, share = _neighbours(height, size[0], np.float64)
    first, second = _inside(top, height)
    return _between(rows[first], rows[second], share[:, None, None])


def _pillow(filter: Image.Resampling, gap: float | None) -> Callable[[Rgb, Size], Rgb]:
    def resize(image: Rgb, size: Size) -> Rgb:
        if image.shape[:2] == size:
            return image
        picture = Image.fromarray(image).resize((size[1], size[0]), filter, reducing_gap=gap)
        return np.asarray(picture)

    return resize


FILTERS: dict[str, Callable[[Rgb, Size], Pixels]] = {
    # reducing_gap lets Pillow shrink by whole numbers first: many times faster on camera files.
    "fast": _pillow(Image.Resampling.BILINEAR, 3.0),
    "bilinear": _pillow(Image.Resampling.BILINEAR, None),
    "bicubic": _pillow(Image.Resampling.BICUBIC, None),
    "opencv": bilinear_uint8,
    "opencv_float": bilinear_float,
}
"""Filters by name. The first three are Pillow's, with antialiasing when a picture shrinks."""
