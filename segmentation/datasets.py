"""Labelled pictures on disk: `NAME.jpg` and beside it `NAME.png`, an 8-bit mask of class indices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset

from segmentation.errors import DatasetError
from segmentation.labels import IGNORE

Rgb = NDArray[np.uint8]
ClassMap = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One labelled picture on disk."""

    image: Path
    mask: Path


def find_pairs(folder: Path) -> list[Pair]:
    """All labelled pictures below `folder`, sorted; DatasetError when there is none."""
    pairs = [
        Pair(image, image.with_suffix(".png"))
        for image in sorted(folder.rglob("*.jpg"))
        if image.with_suffix(".png").exists()
    ]
    if not pairs:
        raise DatasetError(f"no NAME.jpg with NAME.png beside it below {folder}")
    return pairs


def read_pair(pair: Pair, classes: int) -> tuple[Rgb, ClassMap]:
    """Image uint8 (H, W, 3) RGB and mask uint8 (H, W).

    Raises:
        DatasetError: sizes differ, or the mask holds an index that is no class and not 255.
    """
    with Image.open(pair.image) as picture:
        image = np.asarray(picture.convert("RGB"))
    with Image.open(pair.mask) as picture:
        mask = np.asarray(picture)
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        raise DatasetError(f"{pair.mask}: not an 8-bit mask of the size of {pair.image.name}")
    wrong = np.setdiff1d(np.unique(mask), [*range(classes), IGNORE])
    if wrong.size:
        raise DatasetError(f"{pair.mask}: index {wrong[0]} is no class of the {classes}")
    return image, mask


def count_classes(pairs: Iterable[Pair], classes: int) -> NDArray[np.int64]:
    """Labelled pixels of each class, int64 (classes,)."""
    counts = np.zeros(classes, np.int64)
    for pair in pairs:
        _, mask = read_pair(pair, classes)
        counts += np.bincount(mask[mask != IGNORE], minlength=classes)[:classes]
    return counts


@dataclass(frozen=True)
class Augmentation:
    """How a training picture is varied.

    Attributes:
        crop_px: side of the square crop.
        scale: range of the resize factor, relative to the crop over the picture's short side.
        flip: chance of a mirror image.
        rotate_degrees: largest turn to either side, applied to a third of the pictures.
        blur: chance of a Gaussian blur.
        jitter: largest relative change of brightness, contrast and saturation.
    """

    crop_px: int = 256
    scale: tuple[float, float] = (0.75, 2.0)
    flip: float = 0.5
    rotate_degrees: float = 10.0
    blur: float = 0.15
    jitter: float = 0.3


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
    if how.rotate_degrees and rng.random() < 1 / 3:
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


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Augmented crops of labelled pictures that are held in memory.

    Items: image uint8 (3, crop, crop), mask int64 (crop, crop). The same (seed, epoch, index) gives
    the same crop, so an interrupted run goes on as it would have.

    Args:
        pairs: the pictures, (image, mask) as `read_pair` gives them.
        how: the augmentation.
        seed: of everything random.
    """

    def __init__(self, pairs: list[tuple[Rgb, ClassMap]], how: Augmentation, seed: int) -> None:
        self.pairs, self.how, self.seed, self.epoch = pairs, how, seed, 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        image, mask = augment(*self.pairs[index], self.how, rng)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return pixels, torch.from_numpy(np.ascontiguousarray(mask).astype(np.int64))
