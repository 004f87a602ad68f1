"""The pictures in a run's or an evaluation's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segmentation.drawing.charts import confusion_picture, curves, save
from segmentation.drawing.contact import Prediction, contact_sheet
from segmentation.labels import LabelSet
from segmentation.metrics import Confusion


def draw_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """`curves.png`: loss and mIoU by epoch."""
    save(curves(history), folder / "curves.png")


def draw_best(
    folder: Path, confusion: Confusion, shown: Sequence[Prediction], labels: LabelSet
) -> None:
    """`confusion.png` and `predictions.png`."""
    save(confusion_picture(confusion, labels), folder / "confusion.png")
    if shown:
        contact_sheet(shown, labels).save(folder / "predictions.png")
