"""How well weights parse labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segmentation.datasets import find_pairs, read_pair
from segmentation.errors import DatasetError
from segmentation.metrics import Confusion
from segmentation.predict import Parser, Prepared

BATCH = 8


@dataclass(frozen=True)
class Evaluation:
    """Result over a folder.

    Attributes:
        images: how many labelled pictures there were.
        confusion: counts over all their labelled pixels together.
        classes: names, by index.
    """

    images: int
    confusion: Confusion
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """`{"images", "miou", "pixel_accuracy", "per_class"}`; null for classes never seen."""
        return {
            "images": self.images,
            "miou": round(self.confusion.miou, 4),
            "pixel_accuracy": round(self.confusion.pixel_accuracy, 4),
            "per_class": {
                name: None if np.isnan(iou) else round(float(iou), 4)
                for name, iou in zip(self.classes, self.confusion.iou, strict=True)
            },
        }


def evaluate(parser: Parser, folder: Path) -> Evaluation:
    """Parse every labelled picture below `folder`, single scale, at the masks' own resolution.

    Raises:
        DatasetError: nothing labelled below `folder`, or a mask of other classes.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder")
    classes = parser.manifest.labels.classes
    confusion = Confusion(len(classes))
    pairs = find_pairs(folder)
    waiting: dict[tuple[int, int], list[tuple[Prepared, Any]]] = {}

    def flush(bucket: tuple[int, int]) -> None:
        batch = waiting.pop(bucket)
        for parsed, (_, mask) in zip(parser.infer([p for p, _ in batch]), batch, strict=True):
            confusion.add(mask, parsed.mask)

    for pair in tqdm(pairs, "evaluating", unit="image"):
        image, mask = read_pair(pair, len(classes))
        height, width = mask.shape
        prepared = parser.prepare(image, (height, width))
        waiting.setdefault(prepared.bucket, []).append((prepared, mask))
        if len(waiting[prepared.bucket]) == BATCH:
            flush(prepared.bucket)
    for bucket in list(waiting):
        flush(bucket)
    return Evaluation(len(pairs), confusion, classes)
