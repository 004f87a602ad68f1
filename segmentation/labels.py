"""Label sets: what the class indices of a mask mean, in words and colours."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    name: str
    classes: tuple[str, ...]
    classes_zh: tuple[str, ...]
    colours: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.classes), len(self.classes_zh), len(self.colours)}
        if len(sizes) != 1 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"label set {self.name!r}: names and colours do not pair up")

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, name: str) -> int:
        """Index of the class `name`; ValueError when there is none."""
        return self.classes.index(name)


_STARTER = (
    ("building", "建筑", "#8c6d62"),
    ("sky", "天空", "#6fb7e9"),
    ("vegetation", "植被", "#2f7d3b"),
    ("grass", "草地", "#8fc24a"),
    ("road", "道路", "#5d5f6b"),
    ("pavement", "人行道", "#c9a2c4"),
    ("car", "汽车", "#2b50c8"),
    ("water", "水面", "#1f8f9e"),
    ("mountain", "山", "#a98f3c"),
    ("person", "人", "#e0344a"),
    ("bicycle", "自行车", "#7f1d4f"),
    ("sign", "标志牌", "#f2c61f"),
    ("pole", "杆", "#b9bdc4"),
    ("fence", "栅栏", "#d98a4e"),
    ("animal", "动物", "#f07f13"),
    ("aeroplane", "飞机", "#8a63d2"),
    ("boat", "船", "#0f5f8f"),
    ("flower", "花", "#f26fb0"),
    ("book", "书", "#4a3427"),
    ("chair", "椅子", "#12b58a"),
)

STARTER = LabelSet("starter", *(tuple(column) for column in zip(*_STARTER, strict=True)))

LABEL_SETS: dict[str, LabelSet] = {STARTER.name: STARTER}
