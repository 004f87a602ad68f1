"""Label sets: what the class indices of a mask mean, in words and colours. One JSON file each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

IGNORE = 255
"""Mask value of pixels nobody labelled; never predicted, never counted."""


@dataclass(frozen=True)
class LabelSet:
    """Names and colours of a network's classes; a class's index is its position.

    Attributes:
        name: what manifests and the command line call the set.
        classes: English names, unique, lower case.
        classes_zh: names in Simplified Chinese, same order.
        colours: `#rrggbb`, same order.
        offset: value that class 0 has in the annotation files as they are published; lower values
            there mean "unlabelled". ADE20K's files, for one, start at 1. Networks and masks of
            Paysage always start at 0.
    """

    name: str
    classes: tuple[str, ...]
    classes_zh: tuple[str, ...]
    colours: tuple[str, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        sizes = {len(self.classes), len(self.classes_zh), len(self.colours)}
        if len(sizes) != 1 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"label set {self.name!r}: names and colours do not pair up")

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, name: str) -> int:
        """Index of the class `name`; ValueError when there is none."""
        return self.classes.index(name)


def load_label_set(path: Path) -> LabelSet:
    """A set from a file like those beside this module: rows of English, Chinese, colour."""
    values = json.loads(path.read_text(encoding="utf-8"))
    classes, classes_zh, colours = zip(*values["classes"], strict=True)
    return LabelSet(values["name"], classes, classes_zh, colours, values["offset"])


LABEL_SETS: dict[str, LabelSet] = {
    path.stem: load_label_set(path) for path in sorted(Path(__file__).parent.glob("*.json"))
}

STARTER = LABEL_SETS["starter"]
