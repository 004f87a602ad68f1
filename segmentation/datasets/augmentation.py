"""Random crops of labelled pictures: scaled, mirrored, turned, blurred, recoloured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from segmentation.errors import ConfigError
from segmentation.labels import IGNORE

Rgb = NDArray[np.uint8]
ClassMap = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """How a training picture is varied.

    Attributes:
        crop_px: side of the square crop.
        scale: range of the resize factor; at 1 the crop is as high as the picture's short side.
        flip: chance of a mirror image.
        rotate_degrees: largest turn to either side.
        rotate: chance of a turn.
        blur: chance of a Gaussian blur.
        jitter: largest relative change of brightness, contrast and saturation.
    """

    crop_px: int = 256
    scale: tuple[float, float] = (0.75, 2.0)
    flip: float = 0.5
    rotate_degrees: float = 10.0
    rotate: float = 1 / 3
    blur: float = 0.15
    jitter: float = 0.3

    def __post_init__(self) -> None:
        if self.crop_px < 16:
            raise ConfigError("crop_px is at least 16")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError("scale is a range such as [0.5, 2.0]")
        for name in ("flip", "rotate", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a chance between 0 and 1")
        if not 0 <= self.jitter < 1 or not 0 <= self.rotate_degrees <= 180:
            raise ConfigError("jitter is in 0..1, rotate_degrees in 0..180")


def _jitter_colours(image: Rgb, amount: float, rng: np.random.Generator) -> Rgb:
    brightness, contrast, saturation = 1 + amount * rng.uniform(-1, 1, 3)
    pixels = image.astype(np.float32) * brightness
    mean = pixels.mean()
    pixels = (pixels - mean) * contrast + mean
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    pixels = grey[..., None] + (pixels - grey[..., None]) * saturation
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _rotate(
    image: Image.Image, mask: Image.Image, degrees: float
) -> tuple[Image.Image, Image.Image]:
    return (
        image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(127, 127, 127)),
        mask.rotate(degrees, Image.Resampling.NEAREST, fillcolor=IGNORE),
    )


def augment(
    image: Rgb, mask: ClassMap, how: Augmentation, rng: np.random.Generator
) -> tuple[Rgb, ClassMap]:
    """A random crop of side `crop_px`, scaled, mirrored, turned and recoloured.

    What lies outside the picture is grey in the image and 255 in the mask.
    """
    picture, labels = Image.fromarray(image), Image.fromarray(mask)
    if how.rotate_degrees and rng.random() < how.rotate:
        picture, labels = _rotate(
            picture, labels, rng.uniform(-how.rotate_degrees, how.rotate_degrees)
        )
    side = min(picture.size) / np.exp(rng.uniform(*np.log(how.scale)))
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    width, height = side * stretch, side / stretch
    left = _offset(picture.width, width, rng)
    top = _offset(picture.height, height, rng)
    crop = (how.crop_px, how.crop_px)
    corners = (left, top, left + width, top + height)
    inside = left >= 0 and top >= 0 and corners[2] <= picture.width and corners[3] <= picture.height
    if inside:
        picture = picture.resize(crop, Image.Resampling.BILINEAR, box=corners)
        labels = labels.resize(crop, Image.Resampling.NEAREST, box=corners)
    else:
        affine = (width / crop[0], 0.0, left, 0.0, height / crop[1], top)
        method = Image.Transform.AFFINE
        picture = picture.transform(
            crop, method, affine, Image.Resampling.BILINEAR, fillcolor=(127, 127, 127)
        )
        labels = labels.transform(crop, method, affine, Image.Resampling.NEAREST, fillcolor=IGNORE)
    if how.blur and rng.random() < how.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    out_image, out_mask = np.asarray(picture), np.asarray(labels)
    if rng.random() < how.flip:
        out_image, out_mask = out_image[:, ::-1], out_mask[:, ::-1]
    if how.jitter:
        out_image = _jitter_colours(out_image, how.jitter, rng)
    return out_image, out_mask


def _offset(length: int, window: float, rng: np.random.Generator) -> float:
    room = length - window
    return float(rng.uniform(min(0.0, room), max(0.0, room)))
