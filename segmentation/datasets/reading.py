"""From files to arrays: pictures with their class maps, from memory or from disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from segmentation.datasets.augmentation import Augmentation, ClassMap, Rgb, augment
from segmentation.datasets.folders import INVALID, LAYOUTS, Pair, Table
from segmentation.errors import ConfigError, DatasetError
from segmentation.labels import IGNORE, LabelSet


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{path} cannot be read as a picture: {error}") from error


def read_mask(pair: Pair, classes: int, table: Table | None = None) -> ClassMap:
    """Class map of a pair, uint8 (H, W).

    Args:
        table: classes of the values in the file; by default they are the classes themselves.

    Raises:
        DatasetError: not an 8-bit mask, or a value that is no class and not "ignore".
    """
    with _opened(pair.mask) as picture:
        values = np.asarray(picture)
    if values.dtype != np.uint8 or values.ndim != 2:
        raise DatasetError(f"{pair.mask}: not an 8-bit mask of one channel")
    if table is None:
        wrong = np.setdiff1d(np.unique(values), [*range(classes), IGNORE])
    else:
        wrong = np.intersect1d(np.unique(values), np.flatnonzero(table == INVALID))
    if wrong.size:
        raise DatasetError(f"{pair.mask}: index {wrong[0]} is no class of the {classes}")
    return values if table is None else table.astype(np.uint8)[values]


def read_pair(pair: Pair, classes: int, table: Table | None = None) -> tuple[Rgb, ClassMap]:
    """Image uint8 (H, W, 3) RGB and mask uint8 (H, W).

    Raises:
        DatasetError: as `read_mask`, or the sizes differ.
    """
    with _opened(pair.image) as picture:
        image = np.asarray(picture.convert("RGB"))
    mask = read_mask(pair, classes, table)
    if mask.shape != image.shape[:2]:
        raise DatasetError(f"{pair.mask}: not an 8-bit mask of the size of {pair.image.name}")
    return image, mask


class LabelledPictures(Sequence[tuple[Rgb, ClassMap]]):
    """Pictures of one data set with their class maps, as a sequence.

    Args:
        pairs: the files.
        classes: how many classes there are.
        table: see `read_mask`.
        in_memory: read all of them now; otherwise each one whenever it is asked for.
    """

    def __init__(
        self, pairs: list[Pair], classes: int, table: Table | None = None, in_memory: bool = True
    ) -> None:
        self.pairs, self.classes, self.table = pairs, classes, table
        self._held: list[tuple[Rgb, ClassMap]] = []
        if in_memory:
            bar = tqdm(pairs, "reading", unit="image", leave=False)
            self._held = [read_pair(pair, classes, table) for pair in bar]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> tuple[Rgb, ClassMap]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Rgb, ClassMap]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Rgb, ClassMap] | list[tuple[Rgb, ClassMap]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._held[index] if self._held else self._read(self.pairs[index])

    def _read(self, pair: Pair) -> tuple[Rgb, ClassMap]:
        return read_pair(pair, self.classes, self.table)

    def masks(self) -> Iterable[ClassMap]:
        """All class maps in order; pictures are not read for it."""
        if self._held:
            return (mask for _, mask in self._held)
        return (read_mask(pair, self.classes, self.table) for pair in self.pairs)


def open_pictures(
    root: Path, splits: Sequence[str], layout: str, labels: LabelSet, in_memory: bool = True
) -> LabelledPictures:
    """Pictures of some splits of a data set.

    Args:
        root: the data set's folder.
        splits: see `LAYOUTS`; for our own layout, folders below `root`.
        layout: name in `LAYOUTS`.

    Raises:
        ConfigError: no such layout.
        DatasetError: what the layout needs is not there, or the label set does not fit it.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown format {layout!r}; known are {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder")
    kind = LAYOUTS[layout]
    table = kind.table(labels)
    try:
        pairs = [pair for split in splits for pair in kind.find(root, split)]
    except DatasetError as error:
        message = f"not in the {layout} format: {error} (splits: {kind.splits})"
        raise DatasetError(message) from error
    return LabelledPictures(pairs, len(labels), table, in_memory)


def count_classes(masks: Iterable[ClassMap], classes: int) -> NDArray[np.int64]:
    """Labelled pixels of each class, int64 (classes,)."""
    counts = np.zeros(classes, np.int64)
    for mask in masks:
        counts += np.bincount(mask[mask != IGNORE], minlength=classes)[:classes]
    return counts


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Augmented crops of labelled pictures.

    Items: image uint8 (3, crop, crop), mask int64 (crop, crop). The same (seed, epoch, index) gives
    the same crop, so an interrupted run goes on as it would have.

    Args:
        pictures: (image, mask) as `read_pair` gives them.
        how: the augmentation.
        seed: of everything random.
    """

    def __init__(
        self, pictures: Sequence[tuple[Rgb, ClassMap]], how: Augmentation, seed: int
    ) -> None:
        self.pictures, self.how, self.seed, self.epoch = pictures, how, seed, 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        image, mask = augment(*self.pictures[index], self.how, rng)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return pixels, torch.from_numpy(np.ascontiguousarray(mask).astype(np.int64))
