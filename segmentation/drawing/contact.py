"""Contact sheets: photograph, truth, prediction and errors of some pictures, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segmentation.labels import IGNORE, LabelSet

Rgb = NDArray[np.uint8]
ClassMap = NDArray[np.uint8]

_PAPER, _INK, _DIM = (250, 250, 248), (28, 29, 31), (93, 97, 104)
_WRONG = np.array((214, 40, 40), np.float32)
_GAP, _TEXT_PX = 12, 22


class Prediction(NamedTuple):
    """What was made of one labelled picture.

    Attributes:
        name: of the picture.
        image: uint8 (H, W, 3).
        truth, predicted: uint8 (H, W); 255 in the truth is unlabelled.
    """

    name: str
    image: Rgb
    truth: ClassMap
    predicted: ClassMap

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right; NaN where none is labelled."""
        labelled = self.truth != IGNORE
        if not labelled.any():
            return float("nan")
        return float((self.truth == self.predicted)[labelled].mean())


def palette_of(labels: LabelSet) -> Rgb:
    """Colours of all values of a mask, uint8 (256, 3); values that are no class are black."""
    found = np.zeros((256, 3), np.uint8)
    for index, colour in enumerate(labels.colours):
        found[index] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return found


def error_map(prediction: Prediction) -> Rgb:
    """The photograph in pale grey, wrong pixels red, unlabelled ones nearly white."""
    grey = prediction.image.astype(np.float32).mean(2, keepdims=True)
    drawn = np.repeat(90 + grey * 0.55, 3, 2)
    labelled = prediction.truth != IGNORE
    wrong = labelled & (prediction.truth != prediction.predicted)
    drawn[~labelled] = 235 + grey[~labelled] * 0.05
    drawn[wrong] = drawn[wrong] * 0.25 + _WRONG * 0.75
    return np.clip(drawn, 0, 255).astype(np.uint8)


def contact_sheet(
    predictions: Sequence[Prediction], labels: LabelSet, tile_px: int = 240
) -> Image.Image:
    """Rows of photograph, truth, prediction and errors, with a key of the colours below; RGB."""
    palette = palette_of(labels)
    rows = [_row(prediction, palette, tile_px) for prediction in predictions]
    key = _key(predictions, labels, palette, 4 * (tile_px + _GAP) - _GAP)
    head = _TEXT_PX + _GAP
    height = head + sum(row.height + _GAP for row in rows) + key.height + _GAP
    page = Image.new("RGB", (4 * (tile_px + _GAP) + _GAP, height), _PAPER)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(("photograph", "truth", "prediction", "errors")):
        where = (_GAP + column * (tile_px + _GAP), _GAP)
        draw.text(where, title, _INK, font=ImageFont.load_default(15))
    top = head
    for part in (*rows, key):
        page.paste(part, (_GAP, top))
        top += part.height + _GAP
    return page


def _row(prediction: Prediction, palette: Rgb, tile_px: int) -> Image.Image:
    height, width = prediction.truth.shape
    # A tall picture is made narrower, so that no row is higher than it is wide.
    scale = tile_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tiles = (
        (prediction.image, Image.Resampling.BILINEAR),
        (palette[prediction.truth], Image.Resampling.NEAREST),
        (palette[prediction.predicted], Image.Resampling.NEAREST),
        (error_map(prediction), Image.Resampling.BILINEAR),
    )
    row = Image.new("RGB", (4 * (tile_px + _GAP) - _GAP, size[1] + _TEXT_PX), _PAPER)
    for column, (pixels, how) in enumerate(tiles):
        tile = Image.fromarray(pixels).resize(size, how)
        row.paste(tile, (column * (tile_px + _GAP), 0))
    said = f"{prediction.name}: {prediction.accuracy:.0%} of the labelled pixels right"
    ImageDraw.Draw(row).text((0, size[1] + 3), said, _DIM, font=ImageFont.load_default(12))
    return row


def _key(
    predictions: Sequence[Prediction], labels: LabelSet, palette: Rgb, width: int
) -> Image.Image:
    """Colour and name of each class that occurs."""
    maps = [m for p in predictions for m in (p.truth, p.predicted)]
    present = sorted({int(v) for m in maps for v in np.unique(m)} - {IGNORE})
    columns = max(1, width // 160)
    key = Image.new("RGB", (width, max(1, -(-len(present) // columns)) * _TEXT_PX), _PAPER)
    draw = ImageDraw.Draw(key)
    for number, index in enumerate(present):
        left, top = number % columns * 160, number // columns * _TEXT_PX
        colour = tuple(int(value) for value in palette[index])
        draw.rectangle((left, top + 3, left + 14, top + 17), fill=colour)
        draw.text(
            (left + 20, top + 3), labels.classes[index], _INK, font=ImageFont.load_default(12)
        )
    return key
