"""Labelled pictures: where they lie, how they are read, how they are varied for training."""

from segmentation.datasets.augmentation import Augmentation, augment
from segmentation.datasets.folders import LAYOUTS, Pair, find_pairs
from segmentation.datasets.reading import (
    ClassMap,
    LabelledPictures,
    Rgb,
    TrainingSet,
    count_classes,
    open_pictures,
    read_pair,
)

__all__ = [
    "LAYOUTS",
    "Augmentation",
    "ClassMap",
    "LabelledPictures",
    "Pair",
    "Rgb",
    "TrainingSet",
    "augment",
    "count_classes",
    "find_pairs",
    "open_pictures",
    "read_pair",
]
