"""From a decoded picture to the network's input: size rule and normalisation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segmentation.errors import ConfigError


@dataclass(frozen=True)
class InputRule:
    """How a picture is resized and normalised for one network.

    Attributes:
        short_px: short side after resizing.
        long_px: largest long side; wins over `short_px`.
        multiple: both sides are rounded to a multiple of this many pixels. That bends the aspect
            ratio by a few percent at most, and makes pictures of a kind equal in size, so that they
            go through the network together without padding.
        mean, std: of each channel on the 0..255 scale, RGB.
    """

    short_px: int = 256
    long_px: int = 512
    multiple: int = 32
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """(height, width) in pixels that a picture is resized to."""
        scale = min(
            self.short_px / min(width_px, height_px), self.long_px / max(width_px, height_px)
        )

        def rounded(side: int) -> int:
            return max(self.multiple, round(side * scale / self.multiple) * self.multiple)

        return rounded(height_px), rounded(width_px)

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) → uint8 (*size, 3), bilinear with antialiasing."""
        height, width = self.size(image.shape[1], image.shape[0])
        if image.shape[:2] == (height, width):
            return image
        picture = Image.fromarray(image)
        # reducing_gap lets Pillow shrink by whole numbers first: many times faster on camera files.
        resized = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return np.asarray(resized)

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


def to_batch(images: list[NDArray[np.uint8]]) -> Tensor:
    """Equal uint8 (H, W, 3) pictures → uint8 (B, 3, H, W), channels last in memory."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2)
