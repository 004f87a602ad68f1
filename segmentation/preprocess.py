"""From a decoded picture to the network's input: size rule, filter, padding and normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segmentation.errors import ConfigError
from segmentation.resample import FILTERS, Pixels, Rgb


class Box(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int


class View(NamedTuple):
    """A picture at one of the sizes it is looked at in.

    Attributes:
        pixels: (h, w, 3) on 0..255, uint8, or float32 from a filter that does not round.
        content: where in it the picture lies; all of it unless it was padded.
    """

    pixels: Pixels
    content: Box


def _nearest(side: float, multiple: int) -> int:
    return round(side / multiple) * multiple


def _half_up(side: float, multiple: int) -> int:
    return int(side / multiple + 0.5) * multiple


def _up(side: float, multiple: int) -> int:
    # Cut to whole pixels first, then up: 301.7 with a multiple of 8 becomes 304.
    return -(-int(side) // multiple) * multiple


def _plus_one(side: float, multiple: int) -> int:
    # Networks upsampled with aligned corners map 8k + 1 pixels onto k + 1 cells exactly.
    return round((side - 1) / multiple) * multiple + 1


ROUNDINGS: dict[str, Callable[[float, int], int]] = {
    "nearest": _nearest,
    "half_up": _half_up,
    "up": _up,
    "plus_one": _plus_one,
}
"""How a scaled side becomes whole, by name."""


@dataclass(frozen=True)
class InputRule:
    """How a picture is resized, padded and normalised for one network.

    Attributes:
        short_px: short side after resizing.
        long_px: largest long side; wins over `short_px`.
        multiple: both sides are rounded to a multiple of this many pixels. That bends the aspect
            ratio by a few percent at most, and makes pictures of a kind equal in size, so that they
            go through the network together without padding.
        mean, std: of each channel on the 0..255 scale, RGB.
        rounding: one of `ROUNDINGS`.
        filter: one of `segmentation.resample.FILTERS`.
        pad_px: shorter sides are padded to this length, the picture in the middle; 0 for never.
        fill: RGB of the padding on the 0..255 scale.
    """

    short_px: int = 256
    long_px: int = 512
    multiple: int = 32
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    rounding: str = "nearest"
    filter: str = "fast"
    pad_px: int = 0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"unknown rounding {self.rounding!r}; known: {', '.join(ROUNDINGS)}")
        if self.filter not in FILTERS:
            raise ConfigError(f"unknown filter {self.filter!r}; known: {', '.join(FILTERS)}")

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """(height, width) in pixels that a picture is resized to."""
        scale = min(
            self.short_px / min(width_px, height_px), self.long_px / max(width_px, height_px)
        )
        whole = ROUNDINGS[self.rounding]

        def rounded(side: int) -> int:
            return max(self.multiple, whole(side * scale, self.multiple))

        return rounded(height_px), rounded(width_px)

    def resize(self, image: Rgb) -> Pixels:
        """uint8 (H, W, 3) → (*size, 3) by the rule's filter, not yet padded."""
        return FILTERS[self.filter](image, self.size(image.shape[1], image.shape[0]))

    def view(self, image: Rgb) -> View:
        """uint8 (H, W, 3) resized and padded."""
        pixels = self.resize(image)
        height, width = pixels.shape[:2]
        rows, columns = max(self.pad_px - height, 0), max(self.pad_px - width, 0)
        content = Box(rows // 2, columns // 2, height, width)
        if rows or columns:
            canvas = np.empty((height + rows, width + columns, 3), pixels.dtype)
            canvas[:] = np.asarray(self.fill, pixels.dtype)
            canvas[content.top : content.top + height, content.left : content.left + width] = pixels
            pixels = canvas
        return View(pixels, content)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 or float (B, 3, H, W) on 0..255 → float32 (B, 3, H, W)."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return (pixels.float() - mean) / std

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> InputRule:
        """Raises ConfigError for a setting that no rule has."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"unknown input rule {min(unknown)!r}")
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**values)


def to_batch(images: list[Pixels]) -> Tensor:
    """Equal (H, W, 3) pictures → (B, 3, H, W) of their dtype, channels last in memory."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2)
