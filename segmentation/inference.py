"""How a network is asked: whole or in windows, at one size or several, mirrored or not, and averaged.

Published figures belong to such a rule as much as to the weights, so a manifest carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.errors import ConfigError
from segmentation.preprocess import Box
from segmentation.pspnet import ParsedMaps

_WINDOWS_AT_ONCE = 4
"""Windows that go through the network together: a bound on memory, whatever the picture's size."""

_CLASSES_AT_ONCE = 16
"""Classes upsampled together when only the most probable one is asked for."""


@dataclass(frozen=True)
class InferenceRule:
    """What happens between a prepared picture and its scores.

    Attributes:
        sizes: (short_px, long_px) of each size a picture is looked at in; empty for the input
            rule's own. Scores of all sizes are averaged as probabilities.
        window_px: side of the sliding window; 0 takes the picture whole.
        stride_px: step of the window; the last of a row or column is moved back to the border.
        flip: average with the mirror image of each window.
        upsample: "direct" brings the network's logits to the output's size in one step, "window"
            first to the size of the network's input, and that to the output's.
        softmax: "window" turns logits into probabilities before overlapping windows, mirror images
            and the last resize, "output" after them.
        align_corners: of the last resize, where there are two.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    window_px: int = 0
    stride_px: int = 0
    flip: bool = False
    upsample: str = "direct"
    softmax: str = "output"
    align_corners: bool = False

    def __post_init__(self) -> None:
        if self.upsample not in ("direct", "window") or self.softmax not in ("window", "output"):
            raise ConfigError("upsample is direct or window, softmax is window or output")
        if self.window_px and not 0 < self.stride_px <= self.window_px:
            raise ConfigError("stride_px is between 1 and window_px")
        if self.upsample == "direct" and (self.window_px or self.softmax == "window"):
            raise ConfigError("windows, and softmax in them, need upsample = window")

    @property
    def plain(self) -> bool:
        """One pass over the whole picture, of which only the most probable class counts."""
        several = self.window_px or self.flip or len(self.sizes) > 1
        return not several and self.softmax == "output"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> InferenceRule:
        """Raises ConfigError for a setting that no rule has."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"unknown inference rule {min(unknown)!r}")
        values = dict(values)
        if "sizes" in values:
            values["sizes"] = tuple((int(short), int(long)) for short, long in values["sizes"])
        return cls(**values)


def windows(height: int, width: int, rule: InferenceRule) -> Iterator[Box]:
    """The windows over a picture, row by row; one that covers it all when the rule has none."""
    side_y, side_x = (min(rule.window_px or side, side) for side in (height, width))
    step = rule.stride_px or max(height, width)
    for row in range(-(-(height - side_y) // step) + 1):
        for column in range(-(-(width - side_x) // step) + 1):
            top = min(row * step, height - side_y)
            left = min(column * step, width - side_x)
            yield Box(top, left, side_y, side_x)


class Seen(NamedTuple):
    """What the network says of one window.

    Attributes:
        box: the window.
        scores: (streams, C, *) where the streams are the window and, when asked for, its mirror
            image turned back; logits or probabilities, of the window's size or the network's.
        maps: of the unmirrored window, batch of one.
    """

    box: Box
    scores: Tensor
    maps: ParsedMaps


Forward = Callable[[Tensor], ParsedMaps]
Upsample = Callable[[Tensor, tuple[int, int]], Tensor]


def look(pixels: Tensor, rule: InferenceRule, forward: Forward, upsample: Upsample) -> list[Seen]:
    """All windows of one view through the network.

    Args:
        pixels: (1, 3, H, W), normalised.
        forward: the network.
        upsample: as `PSPNet.upsample`.
    """
    boxes = list(windows(pixels.shape[2], pixels.shape[3], rule))
    seen = []
    for start in range(0, len(boxes), _WINDOWS_AT_ONCE):
        some = boxes[start : start + _WINDOWS_AT_ONCE]
        crops = [pixels[:, :, b.top : b.top + b.height, b.left : b.left + b.width] for b in some]
        if rule.flip:
            crops = [stream for crop in crops for stream in (crop, crop.flip(3))]
        maps = forward(torch.cat(crops))
        streams = 2 if rule.flip else 1
        for number, box in enumerate(some):
            part = slice(number * streams, (number + 1) * streams)
            scores = maps.logits[part].float()
            if rule.upsample == "window":
                scores = upsample(scores, (box.height, box.width))
            if rule.softmax == "window":
                scores = scores.softmax(1)
            if rule.flip:
                scores = torch.stack([scores[0], scores[1].flip(2)])
            first = slice(number * streams, number * streams + 1)
            general = None if maps.general is None else maps.general[first]
            own = ParsedMaps(maps.logits[first], maps.fused[first], general, None)
            seen.append(Seen(box, scores, own))
    return seen


def joined(seen: list[Seen], height: int, width: int) -> Tensor:
    """Scores of a view, (streams, C, height, width): the mean where windows overlap."""
    if len(seen) == 1:
        return seen[0].scores
    streams, classes = seen[0].scores.shape[:2]
    total = seen[0].scores.new_zeros(streams, classes, height, width)
    count = total.new_zeros(1, 1, height, width)
    for box, scores, _ in seen:
        area = (..., slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
        total[area] += scores
        count[area] += 1
    return total / count


def output_scores(
    scores: Tensor, content: Box, size: tuple[int, int], rule: InferenceRule, upsample: Upsample
) -> Tensor:
    """Scores of a view at the output's size, (C, *size), as probabilities.

    Args:
        scores: as `joined` gives them.
        content: the picture within the view.
    """
    if rule.upsample == "direct":
        scores = upsample(scores, size)
    else:
        rows = slice(content.top, content.top + content.height)
        columns = slice(content.left, content.left + content.width)
        scores = F.interpolate(
            scores[..., rows, columns], size, mode="bilinear", align_corners=rule.align_corners
        )
    if rule.softmax == "output":
        scores = scores.softmax(1)
    return scores.mean(0)


def _around(maps: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The largest (or smallest) of each cell and its eight neighbours, one direction at a time."""
    for axis in (1, 2):
        length, middle = maps.shape[axis], maps
        for start, other in ((0, 1), (1, 0)):
            aside = middle.narrow(axis, other, length - 1)
            grown = pick(maps.narrow(axis, start, length - 1), aside)
            edge = maps.narrow(axis, length - 1 if start == 0 else 0, 1)
            maps = torch.cat([grown, edge] if start == 0 else [edge, grown], axis)
    return maps


def candidates(logits: Tensor) -> Tensor:
    """Indices of the classes that can win a pixel at all once (C, h, w) is upsampled, ascending.

    An interpolated value lies between the smallest and the largest of the cells it is made from, and
    two bilinear steps reach over three cells a side at most. So a class whose largest value in every
    3×3 neighbourhood is below the best smallest value there wins nowhere. Of 150 classes some ten
    remain in a photograph, and only those need upsampling.
    """
    most, least = _around(logits, torch.maximum), _around(logits, torch.minimum)
    return (most >= least.amax(0)).flatten(1).any(1).nonzero()[:, 0]


def most_probable(
    logits: Tensor,
    within: tuple[int, int],
    size: tuple[int, int],
    rule: InferenceRule,
    upsample: Upsample,
) -> Tensor:
    """Class map uint8 (*size) of logits (C, h, w) upsampled to `within` and from there to `size`.

    A few classes at a time: all classes of a large picture would not stay in the cache.
    """
    possible = candidates(logits)
    best = torch.full(size, -torch.inf, device=logits.device)
    found = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for some in possible.split(_CLASSES_AT_ONCE):
        wide = upsample(logits[None, some], within)
        if within != size:
            wide = F.interpolate(wide, size, mode="bilinear", align_corners=rule.align_corners)
        value, index = wide[0].max(0)
        better = value > best
        best = torch.where(better, value, best)
        found = torch.where(better, some.to(torch.uint8)[index], found)
    return found


def stitched(parts: list[tuple[Box, Tensor]], content: Box, height: int, width: int) -> Tensor:
    """Feature maps of a view's windows as one, cut to the picture, float32 (h, w, F) on their device.

    Windows need not start at a whole cell; each is laid at the nearest one. What is pooled over
    regions afterwards moves by half a cell at most.
    """
    (box, first) = parts[0]
    cell_y, cell_x = box.height / first.shape[0], box.width / first.shape[1]
    rows, columns = (max(1, round(height / cell_y)), max(1, round(width / cell_x)))
    total = torch.zeros(rows, columns, first.shape[2], device=first.device)
    count = torch.zeros(rows, columns, 1, device=first.device)
    for box, features in parts:
        top = min(round(box.top / cell_y), rows - features.shape[0])
        left = min(round(box.left / cell_x), columns - features.shape[1])
        area = (slice(top, top + features.shape[0]), slice(left, left + features.shape[1]))
        total[area] += features
        count[area] += 1
    total /= count.clamp(min=1)
    top, left = int(content.top / cell_y), int(content.left / cell_x)
    bottom = max(top + 1, round((content.top + content.height) / cell_y))
    right = max(left + 1, round((content.left + content.width) / cell_x))
    return total[top:bottom, left:right]
