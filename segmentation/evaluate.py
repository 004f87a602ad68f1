"""How well weights parse labelled pictures."""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segmentation.datasets import ClassMap, LabelledPictures, Rgb, open_pictures
from segmentation.drawing.contact import Prediction
from segmentation.errors import ConfigError
from segmentation.labels import LabelSet
from segmentation.metrics import Confusion
from segmentation.predict import Parser, Prepared

BATCH = 8
SHOWN = 12
"""Pictures on each of the two contact sheets."""


@dataclass
class Evaluation:
    """Result over a folder.

    Attributes:
        images: how many labelled pictures there were.
        confusion: counts over all their labelled pixels together.
        labels: the classes.
        shown: predictions of some pictures, evenly spread.
        worst: predictions of those with the fewest pixels right, worst first.
    """

    images: int
    confusion: Confusion
    labels: LabelSet
    shown: list[Prediction] = field(default_factory=list)
    worst: list[Prediction] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """`{"images", "miou", "pixel_accuracy", "per_class"}`; null for classes never seen."""
        return {
            "images": self.images,
            "miou": round(self.confusion.miou, 4),
            "pixel_accuracy": round(self.confusion.pixel_accuracy, 4),
            "per_class": _by_class(self.labels, self.confusion.iou),
        }

    def write(self, folder: Path) -> None:
        """Figures as `evaluation.json`, `confusion.csv`, and pictures: `confusion.png`,
        `predictions.png`, `worst.png`."""
        from segmentation.drawing.contact import contact_sheet
        from segmentation.drawing.run import draw_best

        folder.mkdir(parents=True, exist_ok=True)
        accuracy = _by_class(self.labels, self.confusion.class_accuracy)
        figures = {**self.to_json(), "class_accuracy": accuracy}
        (folder / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n")
        rows = [",".join(("true \\ predicted", *self.labels.classes))]
        for name, counts in zip(self.labels.classes, self.confusion.counts, strict=True):
            rows.append(",".join((name, *map(str, counts))))
        (folder / "confusion.csv").write_text("\n".join(rows) + "\n")
        draw_best(folder, self.confusion, self.shown, self.labels)
        contact_sheet(self.worst, self.labels).save(folder / "worst.png")


def _by_class(labels: LabelSet, values: Any) -> dict[str, float | None]:
    pairs = zip(labels.classes, values, strict=True)
    return {name: None if np.isnan(value) else round(float(value), 4) for name, value in pairs}


def look_in(parser: Parser, scales: Sequence[float], flip: bool) -> None:
    """Average the probabilities of several sizes, and of mirror images, from now on.

    Args:
        scales: of the size that the weights' input rule gives.

    Raises:
        ConfigError: no scale, or one that is not above 0.
    """
    if not scales or min(scales) <= 0:
        raise ConfigError("scales are numbers above 0, such as 0.5,0.75,1")
    rule = parser.rule
    sizes = tuple((round(rule.short_px * s), round(rule.long_px * s)) for s in scales)
    parser.look_by(replace(parser.inference, sizes=sizes, flip=flip))


def evaluate(
    parser: Parser, folder: Path, layout: str = "folder", splits: Sequence[str] = ()
) -> Evaluation:
    """Parse every labelled picture of some splits, at the masks' own resolution.

    Args:
        layout, splits: see `segmentation.datasets.open_pictures`. Our own layout needs no split:
            all of the folder is looked at.

    Raises:
        DatasetError: nothing labelled is there, or a mask is of other classes.
        ConfigError: no such layout, or one that needs a split.
    """
    labels = parser.manifest.labels
    if not splits and layout != "folder":
        raise ConfigError(f"the format {layout} needs the name of a split (--split)")
    splits = splits or (".",)
    pictures = open_pictures(folder, splits, layout, labels, in_memory=False)
    run = _Run(parser, pictures)
    for index in tqdm(range(len(pictures)), "evaluating", unit="image"):
        run.add(index)
    run.finish()
    worst = [prediction for _, _, prediction in sorted(run.worst, reverse=True)]
    return Evaluation(len(pictures), run.confusion, labels, run.shown, worst)


@dataclass
class _Waiting:
    """A picture that waits until there are enough of its size."""

    index: int
    image: Rgb
    mask: ClassMap
    prepared: Prepared


class _Run:
    """Batches by size, counts, and keeps the pictures that are shown."""

    def __init__(self, parser: Parser, pictures: LabelledPictures) -> None:
        self.parser, self.pictures = parser, pictures
        self.confusion = Confusion(len(parser.manifest.labels))
        self.shown: list[Prediction] = []
        self.worst: list[tuple[float, int, Prediction]] = []
        self._waiting: dict[tuple[int, int], list[_Waiting]] = {}
        step = max(1, len(pictures) // SHOWN)
        self._chosen = set(list(range(0, len(pictures), step))[:SHOWN])

    def add(self, index: int) -> None:
        image, mask = self.pictures[index]
        prepared = self.parser.prepare(image, (mask.shape[0], mask.shape[1]))
        queue = self._waiting.setdefault(prepared.bucket, [])
        queue.append(_Waiting(index, image, mask, prepared))
        if len(queue) == BATCH:
            self._flush(prepared.bucket)

    def finish(self) -> None:
        for bucket in list(self._waiting):
            self._flush(bucket)
        self.shown.sort(key=lambda prediction: prediction.name)

    def _flush(self, bucket: tuple[int, int]) -> None:
        batch = self._waiting.pop(bucket)
        found = self.parser.infer([one.prepared for one in batch])
        for one, parsed in zip(batch, found, strict=True):
            self.confusion.add(one.mask, parsed.mask)
            name = self.pictures.pairs[one.index].image.stem
            self._keep(one.index, Prediction(name, one.image, one.mask, parsed.mask))

    def _keep(self, index: int, prediction: Prediction) -> None:
        if index in self._chosen:
            self.shown.append(prediction)
        if np.isnan(prediction.accuracy):
            return
        entry = (-prediction.accuracy, index, prediction)  # the smallest of the heap is the best
        if len(self.worst) < SHOWN:
            heapq.heappush(self.worst, entry)
        else:
            heapq.heappushpop(self.worst, entry)
