"""How a picture was parsed, stage by stage, each stage as a picture with its shape and one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from segmentation.describe import GRID, Description
from segmentation.folded import FoldedPyramid
from segmentation.predict import Parser

Pixels = NDArray[np.uint8]
SIDE_PX = 480
"""Long side of a stage's picture."""


def _(text: str) -> str:
    """Marks a text for translators; pages translate it, the sheet shows it as it is."""
    return text


@dataclass(frozen=True)
class Stage:
    """One step of the way from pixels to vectors.

    Attributes:
        key: stable name, such as "backbone" or "pyramid-2".
        title, sentence: English; marked for translation.
        shape: of what is drawn, such as "320 × 40 × 60".
        picture: uint8 (h, w, 3) RGB, long side at most `SIDE_PX`.
    """

    key: str
    title: str
    sentence: str
    shape: str
    picture: Pixels


def explain(parser: Parser, image: Pixels) -> list[Stage]:
    """The stages that `image`, uint8 (H, W, 3) RGB, goes through; the last come from its description."""
    prepared = parser.prepare(image)
    with _listening(parser.network) as heard:
        (parsed,) = parser.infer([prepared])
    description = parser.describe(parsed)
    size = _fit(prepared.pixels.shape[:2])
    maps = {key: value[0].float().cpu().numpy() for key, value in heard.items()}
    return [
        Stage(
            "input",
            _("What the network sees"),
            _("The photograph is resized by the release's rule and normalised by colour channel."),
            _shape(prepared.pixels.shape),
            _resized(prepared.pixels.round().astype(np.uint8), size, Image.Resampling.BILINEAR),
        ),
        _map_stage(
            "backbone",
            _("Backbone"),
            _(
                "A convolutional backbone turns pixels into features: cells of one colour look alike "
                "to it. It knows textures and parts, and little of the whole."
            ),
            maps["backbone"],
            size,
        ),
        *_pyramid(parser.network, maps, size),
        _map_stage(
            "concatenated",
            _("Levels laid beside the backbone's map"),
            _(
                "Each level is enlarged to the map's size and laid beside it, so that every cell knows "
                "what it shows and what kind of scene it is in."
            ),
            maps["concatenated"],
            size,
        ),
        _map_stage(
            "fused",
            _("Fused map"),
            _(
                "One 3×3 convolution mixes place and context; similar colours will get similar "
                "classes."
            ),
            maps["fused"],
            size,
        ),
        *_answers(parser, description, parsed.confidence, size),
    ]


# --- listening to the network --------------------------------------------------------------------


@contextmanager
def _listening(network: Any) -> Iterator[dict[str, Tensor]]:
    """What the parts of a PSPNet give out, by stage, during one forward pass."""
    heard: dict[str, Tensor] = {}
    hooks = []

    def listen(module: nn.Module, key: str) -> None:
        def keep(_: nn.Module, __: Any, out: Any) -> None:
            heard[key] = out.detach()

        hooks.append(module.register_forward_hook(keep))

    def keep_last(pyramid: Any, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        heard["backbone"], heard["concatenated"] = inputs[0].detach(), out.detach()
        if isinstance(pyramid, FoldedPyramid):  # its own output is the fused map already
            levels, heard["concatenated"] = pyramid.stages(inputs[0].detach())
            heard.update({f"pyramid-{n}": m for n, m in zip(pyramid.bins, levels, strict=True)})

    hooks.append(network.pyramid.register_forward_hook(keep_last))
    if not isinstance(network.pyramid, FoldedPyramid):
        for number, level in zip(network.pyramid.bins, network.pyramid.levels, strict=True):
            listen(level, f"pyramid-{number}")
    listen(network.fuse, "fused")
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


# --- pictures of maps ----------------------------------------------------------------------------


def _fit(shape: Sequence[int]) -> tuple[int, int]:
    """(width, height) with the long side `SIDE_PX`."""
    height, width = shape[:2]
    scale = SIDE_PX / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(pixels: Pixels, size: tuple[int, int], how: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def principal_colours(values: NDArray[np.float32]) -> Pixels:
    """The three strongest principal components of a map as red, green and blue.

    Args:
        values: float32 (C, h, w).

    Returns:
        uint8 (h, w, 3), each component stretched from its 2nd to its 98th percentile.
    """
    channels, height, width = values.shape
    cells = values.reshape(channels, -1).T
    cells = cells - cells.mean(0)
    _, _, axes = np.linalg.svd(cells, full_matrices=False)
    axes = axes[:3]
    # The sign of an axis is arbitrary: the same map must get the same colours everywhere.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    found = np.zeros((height * width, 3), np.float32)
    found[:, : len(axes)] = cells @ axes.T
    low, high = np.percentile(found, (2, 98), axis=0)
    span = np.where(high - low > 1e-6, high - low, 1.0)
    scaled = np.where(high - low > 1e-6, (found - low) / span, 0.5)
    return (255 * np.clip(scaled, 0, 1)).astype(np.uint8).reshape(height, width, 3)


def _map_stage(
    key: str, title: str, sentence: str, values: NDArray[np.float32], size: tuple[int, int]
) -> Stage:
    if values.shape[1:] == (1, 1):  # one cell has no components to colour: its channels as bars
        picture = _bars(values[:, 0, 0] - np.float32(values.mean()), size)
    else:
        picture = _resized(principal_colours(values), size, Image.Resampling.NEAREST)
    return Stage(key, title, sentence, _shape(values.shape), picture)


def _pyramid(
    network: Any, maps: dict[str, NDArray[np.float32]], size: tuple[int, int]
) -> list[Stage]:
    sentences = {
        1: _("The whole picture averaged to one cell: what kind of scene is this?"),
        2: _("Four quarters: what is above and below, left and right?"),
        3: _("Nine parts: the middle gets a cell of its own."),
        6: _("Thirty-six parts: context at the scale of single things."),
    }
    other = _("The map averaged over a coarse grid.")
    return [
        _map_stage(
            f"pyramid-{number}",
            _("Pyramid level"),
            sentences.get(number, other),
            maps[f"pyramid-{number}"],
            size,
        )
        for number in network.pyramid.bins
    ]


# --- pictures of answers -------------------------------------------------------------------------


def _answers(
    parser: Parser,
    description: Description,
    confidence: NDArray[np.float32],
    size: tuple[int, int],
) -> list[Stage]:
    palette = np.asarray(parser.manifest.palette, np.uint8).reshape(-1, 3)
    mask = _resized(palette[description.mask], size, Image.Resampling.NEAREST)
    return [
        Stage(
            "classes",
            _("Class map"),
            _("Each pixel gets its most probable class."),
            _shape(description.mask.shape),
            mask,
        ),
        Stage(
            "confidence",
            _("Confidence"),
            _("How probable the chosen class was: dark where the network was in doubt."),
            _shape(confidence.shape),
            _resized(confidence_picture(confidence), size, Image.Resampling.BILINEAR),
        ),
        Stage(
            "composition",
            _("Composition vector"),
            _("How much of each class: the square root of the areas, so that small things count."),
            str(len(description.composition)),
            _histogram(description.composition, palette, size),
        ),
        Stage(
            "layout",
            _("Layout vector"),
            _("Which class is where, on an 8×8 grid; each cell shows its classes' shares."),
            f"{GRID} × {GRID} × {len(description.composition)}",
            _layout(description, palette, size),
        ),
        Stage(
            "context",
            _("Context vector"),
            _(
                "The picture's averaged features, whitened: one bar a dimension. Pictures with similar "
                "bars show similar scenes."
            ),
            str(len(description.context)),
            _bars(description.context, size),
        ),
    ]


def confidence_picture(confidence: NDArray[np.float32]) -> Pixels:
    """Probabilities 0..1, float32 (h, w), as uint8 (h, w, 3) from dark violet over teal to pale yellow."""
    stops = np.asarray(
        [(37, 20, 70), (42, 72, 120), (38, 130, 130), (120, 190, 100), (250, 240, 170)]
    )
    place = np.clip(confidence, 0, 1) * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    share = (place - low)[..., None]
    return (stops[low] * (1 - share) + stops[low + 1] * share).astype(np.uint8)


def _paper(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    paper = Image.new("RGB", size, (250, 250, 248))
    return paper, ImageDraw.Draw(paper)


def _histogram(values: NDArray[np.float32], palette: Pixels, size: tuple[int, int]) -> Pixels:
    paper, draw = _paper(size)
    width, height = size
    step = width / len(values)
    for index, value in enumerate(values):
        top = height - 4 - value * (height - 12)
        box = (index * step + 1, top, (index + 1) * step - 1, height - 2)
        draw.rectangle(box, fill=tuple(int(v) for v in palette[index]))
    return np.asarray(paper)


def _layout(description: Description, palette: Pixels, size: tuple[int, int]) -> Pixels:
    paper, draw = _paper(size)
    classes = len(description.composition)
    occupancy = np.zeros((GRID * GRID, classes), np.float32)
    occupancy.ravel()[description.layout_indices] = description.layout_values**2
    totals = occupancy.sum(1, keepdims=True)
    of_cell = occupancy / np.where(totals > 0, totals, 1)
    wide, high = size[0] / GRID, size[1] / GRID
    for cell, shares in enumerate(of_cell):
        left, top = cell % GRID * wide, cell // GRID * high
        for index in np.flatnonzero(shares)[np.argsort(-shares[np.flatnonzero(shares)])]:
            right = left + shares[index] * wide
            box = (left, top + 1, max(left, right - 1), top + high - 1)
            draw.rectangle(box, fill=tuple(int(v) for v in palette[index]))
            left = right
    return np.asarray(paper)


def _bars(values: NDArray[np.float32], size: tuple[int, int]) -> Pixels:
    paper, draw = _paper(size)
    width, height = size
    middle, step = height / 2, width / len(values)
    largest = float(np.abs(values).max()) or 1.0
    draw.line((0, middle, width, middle), fill=(190, 190, 185))
    for index, value in enumerate(values):
        end = middle - value / largest * (middle - 4)
        colour = (35, 96, 143) if value > 0 else (186, 92, 48)
        draw.rectangle(
            (index * step, min(middle, end), (index + 1) * step, max(middle, end)), colour
        )
    return np.asarray(paper)


# --- the sheet -----------------------------------------------------------------------------------


def sheet(stages: Sequence[Stage], columns: int = 4, tile_px: int = 320) -> Image.Image:
    """All stages on one page, each with title, shape and sentence; RGB."""
    text_px, gap = 104, 16
    tallest = max(stage.picture.shape[0] / stage.picture.shape[1] for stage in stages)
    row_px = round(tile_px * tallest) + text_px + gap
    rows = -(-len(stages) // columns)
    page = Image.new("RGB", (columns * (tile_px + gap) + gap, rows * row_px + gap), (250, 250, 248))
    draw = ImageDraw.Draw(page)
    title, small = ImageFont.load_default(16), ImageFont.load_default(12)
    for number, stage in enumerate(stages):
        left = gap + number % columns * (tile_px + gap)
        top = gap + number // columns * row_px
        picture = Image.fromarray(stage.picture)
        picture = picture.resize((tile_px, round(tile_px * picture.height / picture.width)))
        page.paste(picture, (left, top))
        top += picture.height + 6
        draw.text((left, top), f"{number + 1}. {stage.title}", (28, 29, 31), font=title)
        # Pillow's own font has no multiplication sign.
        draw.text((left, top + 21), stage.shape.replace("×", "x"), (93, 97, 104), font=small)
        text = "\n".join(wrap(stage.sentence.replace("×", "x"), tile_px // 6))
        draw.multiline_text((left, top + 37), text, (60, 62, 66), font=small, spacing=2)
    return page
