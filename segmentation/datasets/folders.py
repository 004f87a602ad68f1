"""Where pictures and masks lie: our own folders, and four data sets as they are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmentation.errors import DatasetError
from segmentation.labels import IGNORE, LabelSet

Table = NDArray[np.int16]
"""int16 (256,): class of each value that a mask file may hold, IGNORE, or INVALID."""

INVALID = -1

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Pair:
    """One labelled picture on disk."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """How a data set is laid out.

    Attributes:
        find: (root folder, split) → its pairs, sorted; DatasetError says what is missing.
        table: classes of the values in its mask files, for a label set.
        splits: names of its usual splits, for messages.
    """

    find: Callable[[Path, str], list[Pair]]
    table: Callable[[LabelSet], Table]
    splits: str


def find_pairs(folder: Path) -> list[Pair]:
    """All `NAME.jpg` with `NAME.png` beside them below `folder`, sorted.

    Raises:
        DatasetError: there is none.
    """
    pairs = [
        Pair(image, image.with_suffix(".png"))
        for image in sorted(folder.rglob("*.jpg"))
        if image.with_suffix(".png").exists()
    ]
    if not pairs:
        raise DatasetError(f"no NAME.jpg with NAME.png beside it below {folder}")
    return pairs


# --- what layouts have in common ---------------------------------------------------------------


def _folder(root: Path, *choices: str) -> Path:
    """The first of `choices` that is a folder below `root`."""
    for name in choices:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root} has no folder {' or '.join(choices)}")


def _pairs(images: list[Path], mask_of: Callable[[Path], Path], where: Path) -> list[Pair]:
    """Pairs of pictures that all must have a mask."""
    if not images:
        raise DatasetError(f"there are no pictures in {where}")
    pairs = [Pair(image, mask_of(image)) for image in images]
    lacking = [pair for pair in pairs if not pair.mask.is_file()]
    if lacking:
        raise DatasetError(
            f"{len(lacking)} of {len(pairs)} pictures in {where} have no mask; "
            f"the first would be {lacking[0].mask}"
        )
    return pairs


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _values(table: dict[int, int], ignored: range | tuple[int, ...] = ()) -> Table:
    found = np.full(256, INVALID, np.int16)
    found[list(ignored)] = IGNORE
    for value, index in table.items():
        found[value] = index
    return found


def _need_classes(labels: LabelSet, count: int, name: str) -> None:
    if len(labels) != count:
        raise DatasetError(
            f"{name} has {count} classes, the label set {labels.name!r} has {len(labels)}"
        )


# --- our own -----------------------------------------------------------------------------------


def _own_table(labels: LabelSet) -> Table:
    return _values({index: index for index in range(len(labels))}, (IGNORE,))


def _own_pairs(root: Path, split: str) -> list[Pair]:
    if not (root / split).is_dir():
        raise DatasetError(f"{root} has no folder {split}")
    return find_pairs(root / split)


# --- ADE20K, scene parsing benchmark (Zhou et al., CVPR 2017) -----------------------------------


def _ade20k_pairs(root: Path, split: str) -> list[Pair]:
    """`images/training/NAME.jpg` and `annotations/training/NAME.png`."""
    images = _folder(root, f"images/{split}")
    masks = _folder(root, f"annotations/{split}")
    return _pairs(_pictures(images), lambda image: masks / f"{image.stem}.png", images)


def _ade20k_table(labels: LabelSet) -> Table:
    """Files hold 1..C and 0 for everything else; networks count from 0."""
    table = {index + labels.offset: index for index in range(len(labels))}
    return _values(table, (*range(labels.offset), IGNORE))


# --- Cityscapes (Cordts et al., CVPR 2016) -----------------------------------------------------

# labelIds of the 19 classes that are evaluated, in the order of their trainIds.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def _cityscapes_pairs(root: Path, split: str) -> list[Pair]:
    """`leftImg8bit/train/CITY/X_leftImg8bit.png` and `gtFine/train/CITY/X_gtFine_labelIds.png`."""
    images = _folder(root, f"leftImg8bit/{split}")
    masks = _folder(root, f"gtFine/{split}")

    def mask_of(image: Path) -> Path:
        stem = image.stem.removesuffix("_leftImg8bit")
        return masks / image.parent.name / f"{stem}_gtFine_labelIds.png"

    return _pairs(sorted(images.glob("*/*_leftImg8bit.png")), mask_of, images)


def _cityscapes_table(labels: LabelSet) -> Table:
    """labelIds 0..33 to trainIds; 255 is the file's way to write -1, the licence plate."""
    _need_classes(labels, len(_CITYSCAPES_IDS), "Cityscapes")
    return _values({v: i for i, v in enumerate(_CITYSCAPES_IDS)}, (*range(34), IGNORE))


# --- PASCAL VOC 2012 (Everingham et al., IJCV 2010) --------------------------------------------


def _voc_pairs(root: Path, split: str) -> list[Pair]:
    """Names from `ImageSets/Segmentation/SPLIT.txt`.

    Masks of the 10,582 augmented pictures (Hariharan et al., ICCV 2011) are looked for in
    `SegmentationClassAug` where `SegmentationClass` has none.
    """
    listing = _folder(root, "ImageSets/Segmentation") / f"{split}.txt"
    if not listing.is_file():
        raise DatasetError(f"there is no list {listing}")
    images, masks = _folder(root, "JPEGImages"), _folder(root, "SegmentationClass")
    more = root / "SegmentationClassAug"
    names = [
        Path(line.split()[0]).stem for line in listing.read_text().splitlines() if line.strip()
    ]
    missing = [name for name in names if not (images / f"{name}.jpg").is_file()]
    if missing:
        raise DatasetError(
            f"{listing} names {len(missing)} pictures that are not in {images}, first {missing[0]}"
        )

    def mask_of(image: Path) -> Path:
        own = masks / f"{image.stem}.png"
        return own if own.is_file() or not more.is_dir() else more / own.name

    return _pairs([images / f"{name}.jpg" for name in names], mask_of, listing)


def _voc_table(labels: LabelSet) -> Table:
    """Palette PNGs: the index is the class, 255 the border that nobody counts."""
    _need_classes(labels, 21, "PASCAL VOC")
    return _own_table(labels)


# --- COCO-Stuff 164k (Caesar et al., CVPR 2018) ------------------------------------------------

# Ids of COCO that no picture was ever labelled with, counted from 0 as the files count.
_COCO_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)


def _coco_stuff_pairs(root: Path, split: str) -> list[Pair]:
    """`images/train2017/NAME.jpg` and `stuffthingmaps/train2017/NAME.png`."""
    images = _folder(root, f"images/{split}", split)
    masks = _folder(root, f"stuffthingmaps/{split}", f"annotations/{split}")
    return _pairs(_pictures(images), lambda image: masks / f"{image.stem}.png", images)


def _coco_stuff_table(labels: LabelSet) -> Table:
    """80 things and 91 stuff classes, without the ids between them that are not used."""
    _need_classes(labels, 171, "COCO-Stuff")
    used = [value for value in range(182) if value not in _COCO_UNUSED]
    return _values({value: index for index, value in enumerate(used)}, (IGNORE,))


LAYOUTS: dict[str, Layout] = {
    "folder": Layout(_own_pairs, _own_table, "any folder below the root"),
    "ade20k": Layout(_ade20k_pairs, _ade20k_table, "training, validation"),
    "cityscapes": Layout(_cityscapes_pairs, _cityscapes_table, "train, val"),
    "voc": Layout(_voc_pairs, _voc_table, "train, val, trainval, trainaug"),
    "coco_stuff": Layout(_coco_stuff_pairs, _coco_stuff_table, "train2017, val2017"),
}
"""By the name that `format` has in a training configuration."""
