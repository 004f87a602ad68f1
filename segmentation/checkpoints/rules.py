"""How each code base feeds its networks and reads them out: the part of a model no key tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from segmentation.errors import CheckpointError
from segmentation.inference import InferenceRule
from segmentation.preprocess import InputRule

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

# (short, long) sides and sliding window that mmsegmentation tests each data set with
_MMSEG_SIZES = {
    "cityscapes": (1024, 2048),
    "pascal_context_59": (520, 520),
    "pascal_context_60": (520, 520),
    "loveda": (1024, 1024),
    "potsdam": (512, 512),
    "isaid": (896, 896),
}
_MMSEG_STRIDES = {769: 513, 480: 320}
_SEMSEG_SIZES = {"cityscapes": (2048, 713)}  # long side, window
_CSAIL_SHORT_SIDES, _CSAIL_LONG = (300, 375, 450, 525, 600), 1000
_BUBBLIIIING_SIDE = 473
_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # "multi scale + flip" of the published tables


@dataclass(frozen=True)
class ImportOptions:
    """What the person importing knows and the file does not say. None leaves it to the layout.

    Attributes:
        output_stride: 8, 16 or 32.
        align_corners: how the network upsamples.
        window_px: side of a sliding window; 0 for none.
        views: "published" asks the network as its authors test it at a single scale, "single" takes
            one whole picture in one pass, "multi" the six scales with mirror images that published
            tables call "multi scale + flip".
        title: one line for people.
        terms: under which terms the weights may be used.
        metrics: published figures.
    """

    output_stride: int | None = None
    align_corners: bool | None = None
    window_px: int | None = None
    views: str = "published"
    title: str = ""
    terms: str = ""
    metrics: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.views not in ("published", "single", "multi"):
            raise CheckpointError(f"views are published, single or multi, not {self.views!r}")


@dataclass(frozen=True)
class Rules:
    """Input and inference of one network."""

    input: InputRule
    inference: InferenceRule


def with_config_of(options: ImportOptions, meta: dict[str, Any]) -> ImportOptions:
    """Options completed from the training configuration that mmsegmentation stores as text."""
    inner = meta.get("meta")
    text = inner.get("config") if isinstance(inner, dict) else None
    if not isinstance(text, str):
        return options
    values: dict[str, Any] = {}
    if options.align_corners is None:
        values["align_corners"] = re.search(r"align_corners\s*=\s*True", text) is not None
    crop = re.search(r"mode\s*=\s*['\"]slide['\"].{0,80}?crop_size\s*=\s*\((\d+)", text, re.S)
    if options.window_px is None and crop:
        values["window_px"] = int(crop.group(1))
    return replace(options, **values)


def _scaled(sizes: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((round(sizes[0] * scale), round(sizes[1] * scale)) for scale in _SCALES)


def _mmseg(labels: str, options: ImportOptions) -> Rules:
    short, long = _MMSEG_SIZES.get(labels, (512, 2048))
    window = options.window_px
    if window is None:
        window = 480 if labels.startswith("pascal_context") else 0
    if window == 769:
        short, long = 1025, 2049
    if options.views == "single":
        window = 0
    stride = _MMSEG_STRIDES.get(window, -(-window * 2 // 3))
    multi = options.views == "multi"
    return Rules(
        InputRule(short, long, 1, IMAGENET_MEAN, IMAGENET_STD, "half_up", "opencv"),
        InferenceRule(
            _scaled((short, long)) if multi else (),
            window,
            stride,
            flip=multi,
            upsample="window",
            align_corners=bool(options.align_corners),
        ),
    )


def _semseg(labels: str, options: ImportOptions) -> Rules:
    long, window = _SEMSEG_SIZES.get(labels, (512, 473))
    if options.views == "single":
        rule = InputRule(long, long, 8, IMAGENET_MEAN, IMAGENET_STD, "plus_one", "opencv_float")
        return Rules(rule, InferenceRule(upsample="window"))
    window = options.window_px or window
    resizing = InputRule(long, long, 1, IMAGENET_MEAN, IMAGENET_STD, "nearest", "opencv_float")
    return Rules(
        replace(resizing, pad_px=window, fill=IMAGENET_MEAN),
        InferenceRule(
            _scaled((long, long)) if options.views == "multi" else (),
            window,
            -(-window * 2 // 3),
            flip=True,
            upsample="window",
            softmax="window",
        ),
    )


def _csail(labels: str, options: ImportOptions) -> Rules:
    rule = InputRule(450, _CSAIL_LONG, 8, IMAGENET_MEAN, IMAGENET_STD, "up", "bilinear")
    sizes = tuple((short, _CSAIL_LONG) for short in _CSAIL_SHORT_SIDES)
    if options.window_px:
        raise CheckpointError("CSAIL networks see whole pictures: leave --window out.")
    single, multi = options.views == "single", options.views == "multi"
    return Rules(rule, InferenceRule(() if single else sizes, flip=multi))


def _bubbliiiing(labels: str, options: ImportOptions) -> Rules:
    if options.views == "multi":
        raise CheckpointError(
            "bubbliiiing networks see a letterbox of one size: choose --views published or single."
        )
    side = options.window_px or _BUBBLIIIING_SIDE
    rule = InputRule(
        side,
        side,
        1,
        (0.0, 0.0, 0.0),
        (255.0, 255.0, 255.0),
        "up",
        "bicubic",
        pad_px=side,
        fill=(128.0, 128.0, 128.0),
    )
    return Rules(rule, InferenceRule(upsample="window", softmax="window"))


_RULES = {"mmseg": _mmseg, "semseg": _semseg, "csail": _csail, "bubbliiiing": _bubbliiiing}


def rules_of(layout: str, labels: str, options: ImportOptions) -> Rules:
    """Input and inference as the layout's code base has them for a label set.

    Raises:
        CheckpointError: networks of the layout cannot be asked so.
    """
    return _RULES[layout](labels, options)
