"""Many described pictures from few: random crops of real ones, for benchmarks.

A row is a window of a parsed picture (half to all of its sides, mirrored or not). Layout, composition
and areas are those of its class map in the window. Its context is the sum of its regions' real vectors
by their areas in the window, which is what pooling would give, were features uniform in a region; that
they are not is imitated by adding, for the largest region, half the difference of two regions of the
same class in other pictures. So areas, places, clusters and the spread within classes are real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from tqdm import tqdm

from segmentation.decode import decode
from segmentation.describe import GRID, Description, segments_of
from segmentation.predict import Parser

MAP = 64
"""Side to which class and region maps are sampled."""
SAMPLES = 32
"""Points a side that a window is sampled at: 16 for each of the 8×8 cells."""
JITTER = 0.5

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """One parsed picture.

    Attributes:
        classes, numbers: (MAP, MAP) class and region of each place.
        rows: (R, D) norm · vector of each region; region_class: (R,), -1 for the rest.
    """

    classes: Ints
    numbers: Ints
    rows: Floats
    region_class: Ints


@dataclass(frozen=True)
class Batch:
    """Resampled pictures.

    Attributes:
        context: (N, D), composition: (N, C), both of length 1; norms: (N,) of the context.
        areas: (N, C); layout: of each picture (indices, values of length 1).
        regions: of each picture, its regions' (number in the source, area), largest first.
        sources: (N,) which picture each is a crop of.
    """

    context: Floats
    norms: Floats
    composition: Floats
    areas: Floats
    layout: list[tuple[Ints, Floats]]
    regions: list[list[tuple[int, float]]]
    sources: Ints


def source_of(description: Description) -> Source:
    """Maps and vectors of a described picture."""
    mask = description.mask
    ys = np.arange(MAP) * mask.shape[0] // MAP
    xs = np.arange(MAP) * mask.shape[1] // MAP
    numbers = segments_of(mask).numbers[np.ix_(ys, xs)].astype(np.int64)
    classes = [-1 if r.class_index is None else r.class_index for r in description.regions]
    rows = np.stack([r.norm * r.vector for r in description.regions]).astype(np.float32)
    return Source(mask[np.ix_(ys, xs)].astype(np.int64), numbers, rows, np.array(classes))


def sources_from(parser: Parser, most: int) -> list[Source]:
    """Real photographs beside the checkout, parsed; every k-th of them."""
    folders = (settings.SHARED_DATA / "scenes", settings.SHARED_DATA / "photos")
    files: list[Path] = sorted(p for folder in folders for p in folder.rglob("*.jpg"))
    chosen = files[:: max(1, len(files) // most)][:most]
    return [
        source_of(parser.parse([parser.prepare(decode(path))])[0])
        for path in tqdm(chosen, "parsing", unit="image", mininterval=1)
    ]


class Resampler:
    """Draws crops of sources."""

    def __init__(self, sources: list[Source], classes: int, seed: int = 0) -> None:
        self.sources, self.classes = sources, classes
        self.rng = np.random.default_rng(seed)
        kinds = np.concatenate([s.region_class for s in sources])
        rows = np.concatenate([s.rows for s in sources])
        self.by_class = {int(k): rows[kinds == k] for k in np.unique(kinds)}

    def batches(self, count: int, size: int = 20_000) -> Iterator[Batch]:
        """`count` crops in batches; each crop's picture is drawn anew."""
        for start in range(0, count, size):
            yield self.draw(min(size, count - start))

    def draw(self, count: int) -> Batch:
        """`count` crops."""
        chosen = np.sort(self.rng.integers(0, len(self.sources), count))
        parts = [self._crops(int(s), int((chosen == s).sum())) for s in np.unique(chosen)]
        order = self.rng.permutation(count)

        def joined(name: str) -> NDArray[np.float32]:
            values: Floats = np.concatenate([getattr(part, name) for part in parts])
            return values[order]

        layout = [row for part in parts for row in part.layout]
        regions = [row for part in parts for row in part.regions]
        return Batch(
            joined("context"),
            joined("norms"),
            joined("composition"),
            joined("areas"),
            [layout[i] for i in order],
            [regions[i] for i in order],
            np.concatenate([part.sources for part in parts])[order],
        )

    def _windows(self, count: int) -> tuple[Ints, Ints]:
        """Rows and columns of the maps that crops are sampled at, both (count, SAMPLES)."""
        side = self.rng.uniform(0.5, 1.0, (2, count, 1))
        corner = self.rng.uniform(0, 1, (2, count, 1)) * (1 - side)
        steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
        places = np.floor((corner + steps * side) * MAP).astype(np.int64)
        mirrored = self.rng.random(count) < 0.5
        places[1, mirrored] = places[1, mirrored, ::-1]
        return places[0], places[1]

    def _crops(self, number: int, count: int) -> Batch:
        source = self.sources[number]
        ys, xs = self._windows(count)
        at = (ys[:, :, None], xs[:, None, :])
        crop = np.arange(count)[:, None, None]
        regions = len(source.rows)
        held = np.bincount(
            (crop * regions + source.numbers[at]).ravel(), minlength=count * regions
        ).reshape(count, regions)
        shares = (held / SAMPLES**2).astype(np.float32)
        cell = np.arange(SAMPLES) * GRID // SAMPLES
        cells = cell[:, None] * GRID + cell[None, :]
        keys = (crop * GRID * GRID + cells) * self.classes + source.classes[at]
        width = GRID * GRID * self.classes
        counts = np.bincount(keys.ravel(), minlength=count * width).reshape(count, width)
        areas = counts.reshape(count, -1, self.classes).sum(1) / SAMPLES**2
        context = shares @ source.rows + self._jitter(source, shares)
        norms = np.maximum(np.linalg.norm(context, axis=1, keepdims=True), 1e-6)
        return Batch(
            (context / norms).astype(np.float32),
            norms[:, 0].astype(np.float32),
            np.sqrt(areas).astype(np.float32),
            areas.astype(np.float32),
            [_sparse(row) for row in counts],
            [_largest(row) for row in shares],
            np.full(count, number),
        )

    def _jitter(self, source: Source, shares: Floats) -> Floats:
        largest = shares.argmax(1)
        noise = np.zeros((len(shares), source.rows.shape[1]), np.float32)
        for row, region in enumerate(largest):
            others = self.by_class[int(source.region_class[region])]
            one, two = self.rng.integers(0, len(others), 2)
            noise[row] = (others[one] - others[two]) * (JITTER * shares[row, region] / np.sqrt(2))
        return noise


def _sparse(counts: Ints) -> tuple[Ints, Floats]:
    """Non-zeros of a layout: sqrt of the occupancies, of length 1."""
    places = np.flatnonzero(counts)
    values = np.sqrt(counts[places].astype(np.float32))
    return places, values / np.linalg.norm(values)


def _largest(shares: Floats) -> list[tuple[int, float]]:
    """(region, area) of at least 1 %, largest first."""
    order = np.argsort(-shares)
    return [(int(i), float(shares[i])) for i in order if shares[i] >= 0.01]
