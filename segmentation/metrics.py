"""Agreement of predicted and true class maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmentation.labels import IGNORE


@dataclass
class Confusion:
    """Counts of (true class, predicted class) over all labelled pixels, int64 (C, C)."""

    classes: int
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Count one picture; both uint8 (H, W), pixels whose truth is 255 are left out."""
        labelled = truth != IGNORE
        pairs = truth[labelled].astype(np.int64) * self.classes + predicted[labelled]
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, float64 (C,); NaN for classes that never occur.

        A class counts as occurring when it is true or predicted anywhere (as in PASCAL VOC).
        """
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.divide(hit, union, out=np.full(self.classes, np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that are true somewhere."""
        present = self.counts.sum(1) > 0
        return float(self.iou[present].mean()) if present.any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of labelled pixels with the right class."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else float("nan")

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """Share of each true class's pixels found, float64 (C,); NaN where there are none."""
        true = self.counts.sum(1)
        hit = np.diag(self.counts).astype(np.float64)
        return np.divide(hit, true, out=np.full(self.classes, np.nan), where=true > 0)
