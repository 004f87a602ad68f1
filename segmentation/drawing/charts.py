"""Charts: a run's curves and a confusion matrix. Matplotlib's own figures, without its global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.labels import LabelSet
from segmentation.metrics import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#23608f", "#ba5c30", "#5d6168"
MOST_CLASSES = 40
"""Classes in a confusion matrix; of larger label sets those with the most pixels are drawn."""


def _figure(width: float, height: float) -> Figure:
    # Here, so that neither the web nor a worker ever loads it. No pyplot: it keeps figures globally.
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained", facecolor="white")


def curves(history: Sequence[dict[str, Any]]) -> Figure:
    """Loss and mIoU by epoch, from the rows of a run's log."""
    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], color=BLUE, marker=".")
    left.set(xlabel="epoch", title="training loss")
    seen = [row for row in history if "miou" in row]
    for name, title, colour in (
        ("miou", "mIoU", BLUE),
        ("pixel_accuracy", "pixel accuracy", ORANGE),
    ):
        values = [row[name] for row in seen]
        right.plot([row["epoch"] for row in seen], values, color=colour, marker=".", label=title)
    if seen:
        best = max(seen, key=lambda row: row["miou"])
        right.axvline(best["epoch"], color=GREY, linewidth=0.8, linestyle=":")
        right.set_title(f"val: best mIoU {best['miou']:.3f} in epoch {best['epoch']}")
        right.legend(frameon=False)
    right.set(xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def confusion_picture(confusion: Confusion, labels: LabelSet) -> Figure:
    """Where the pixels of each true class went, as shares of its row, darkest for all of them."""
    totals = confusion.counts.sum(1)
    drawn = np.flatnonzero(totals | confusion.counts.sum(0))
    if len(drawn) > MOST_CLASSES:
        drawn = np.sort(np.argsort(-totals, kind="stable")[:MOST_CLASSES])
    shares = confusion.counts[np.ix_(drawn, drawn)] / np.maximum(totals[drawn, None], 1)
    names = [labels.classes[index] for index in drawn]
    side = max(4.0, 0.38 * len(drawn) + 2)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(drawn)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(drawn)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    for row, column in zip(*np.nonzero(shares >= 0.01), strict=True):
        share = shares[row, column]
        colour = "white" if share > 0.55 else "black"
        text = f"{share * 100:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    some = f", the {len(drawn)} classes with the most pixels" if len(drawn) < len(labels) else ""
    said = f"mIoU {confusion.miou:.3f}, pixel accuracy {confusion.pixel_accuracy:.3f}"
    axes.set_title(f"{said}; percent of the true class{some}", fontsize=9)
    figure.colorbar(image, fraction=0.04)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as what the file's suffix says, PNG or SVG."""
    figure.savefig(path, dpi=110)
