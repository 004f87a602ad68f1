"""From a parsed picture to what search compares: areas, composition, layout, context, regions.

Everything here is NumPy on one picture, so that threads can do it while the network parses the next.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

GRID = 8
"""Cells a side of the layout."""
MIN_OCCUPANCY = 0.05
"""Share of a cell below which a class is left out of the layout."""
MIN_REGION_AREA = 0.01
"""Share of the picture from which a connected segment is a region of its own."""
MAX_LAYOUT_ENTRIES = 1000
"""pgvector indexes at most this many non-zeros of a sparse vector."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Whitening:
    """PCA projection of pooled features, fitted when a release is made.

    Attributes:
        mean: float32 (F,), μ.
        matrix: float32 (D, F), W: principal axes over their eigenvalues to some power. None leaves
            the features as they are, until a release was fitted.
    """

    mean: Floats
    matrix: Floats | None

    @property
    def width(self) -> int:
        """D, the width of what comes out."""
        return len(self.mean) if self.matrix is None else len(self.matrix)

    @classmethod
    def identity(cls, width: int) -> Whitening:
        """What a network has that nothing was fitted for: D = F, W = 1, μ = 0."""
        return cls(np.zeros(width, np.float32), None)

    def __call__(self, features: Floats) -> Floats:
        """W (v − μ) of each row: (R, F) → (R, D)."""
        if self.matrix is None:
            return features - self.mean
        projected: Floats = ((features - self.mean) @ self.matrix.T).astype(np.float32)
        return projected


@dataclass(frozen=True)
class ParsedPicture:
    """What the network says about one picture.

    Attributes:
        mask: uint8 (h, w) class map.
        confidence: float32 (gh, gw), probability of the most probable class in each output cell.
        features: float32 (fh, fw, F), what pooling averages.
    """

    mask: NDArray[np.uint8]
    confidence: Floats
    features: Floats


@dataclass(frozen=True)
class RegionDescription:
    """A connected segment of one class.

    Attributes:
        class_index: its class; None for the rest of the picture, all segments under 1 % together.
        area: share of the picture, 0..1. The areas of all regions of a picture sum to 1.
        box: (x0, y0, x1, y1) as shares of width and height.
        confidence: mean probability of the predicted class.
        vector: float32 (D,), W (v − μ) normalised to length 1.
        norm: length before normalising, so that `area · norm · vector` is the region's exact share
            of the picture's unnormalised context.
    """

    class_index: int | None
    area: float
    box: tuple[float, float, float, float]
    confidence: float
    vector: Floats
    norm: float


@dataclass(frozen=True)
class Description:
    """All that is stored of a picture for one release.

    Attributes:
        mask: uint8 (h, w) class map, long side ≤ 512 px, in the picture's own aspect ratio.
        confidence: mean probability of the predicted class.
        areas: float32 (C,), share of each class; sums to 1.
        composition: float32 (C,), sqrt(areas) (its cosine is the Bhattacharyya coefficient).
        layout_indices, layout_values: non-zeros of the layout, int32 and float32 (n,), length 1;
            index = (row · 8 + column) · C + class, of a vector `layout_width` wide.
        context: float32 (D,) of length 1; context_norm: its length before normalising.
        regions: largest first, the rest (if any) last.
    """

    mask: NDArray[np.uint8]
    confidence: float
    areas: Floats
    composition: Floats
    layout_indices: NDArray[np.int32]
    layout_values: Floats
    layout_width: int
    context: Floats
    context_norm: float
    regions: list[RegionDescription]

    @property
    def uniform_class(self) -> int | None:
        """The class that fills every cell of the layout alone, if one does."""
        return uniform_class_of(
            self.layout_indices, self.layout_values, self.layout_width // GRID**2
        )

    def mask_png(self, palette: list[int]) -> bytes:
        """The class map as a palette PNG; `palette` is 768 values, as `Manifest.palette`."""
        picture = Image.fromarray(self.mask)
        picture.putpalette(palette)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=6)
        return buffer.getvalue()


def unit(vector: Floats) -> tuple[Floats, float]:
    """The vector at length 1 and its length; a zero vector becomes the first axis with length 0."""
    norm = float(np.linalg.norm(vector))
    if norm < 1e-12:
        axis = np.zeros_like(vector)
        axis[0] = 1.0
        return axis, 0.0
    return (vector / norm).astype(np.float32), norm


def composition_of(areas: Floats) -> Floats:
    """sqrt of the class shares, float32 (C,) of length 1."""
    return unit(np.sqrt(areas, dtype=np.float32))[0]


def layout_of(mask: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int32], Floats]:
    """Non-zeros of the layout: sqrt of each class's occupancy of each of 8×8 cells, length 1."""
    return layout_from(_cell_counts((GRID, GRID), mask, classes))


def layout_from(counts: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], Floats]:
    """The same from the pixels of each class in each cell, (64, classes)."""
    occupancy = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    values = np.where(occupancy >= MIN_OCCUPANCY, np.sqrt(occupancy), 0).astype(np.float32).ravel()
    indices = np.flatnonzero(values)
    if indices.size > MAX_LAYOUT_ENTRIES:
        largest = np.argpartition(values[indices], -MAX_LAYOUT_ENTRIES)[-MAX_LAYOUT_ENTRIES:]
        indices = np.sort(indices[largest])
    return indices.astype(np.int32), unit(values[indices])[0]


def uniform_class_of(indices: NDArray[np.integer[Any]], values: Floats, classes: int) -> int | None:
    """The class that fills every cell of a layout (non-zeros as `layout_of` gives them), or None.

    All such pictures of a class have the same layout, whatever else differs in them.
    """
    if len(indices) != GRID * GRID or np.ptp(values) > 0:
        return None
    found = np.unique(np.asarray(indices) % classes)
    return int(found[0]) if len(found) == 1 else None


def _cells(length: int, cells: int) -> NDArray[np.intp]:
    return np.arange(length) * cells // length


def _cell_counts(grid: tuple[int, int], values: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Pixels of each value in each cell of a grid over the picture, int64 (cells, width)."""
    rows, columns = _cells(values.shape[0], grid[0]), _cells(values.shape[1], grid[1])
    cell = rows[:, None] * grid[1] + columns[None, :]
    keys = cell * width + values
    counts = np.bincount(keys.ravel(), minlength=grid[0] * grid[1] * width)
    return counts.reshape(-1, width)


@dataclass(frozen=True)
class Segments:
    """Segments of one picture: number of each pixel's region, and class and box of each region."""

    numbers: NDArray[np.int32]
    classes: list[int | None]
    boxes: list[tuple[float, float, float, float]]


def segments_of(mask: NDArray[np.uint8]) -> Segments:
    """Connected components of at least 1 % of the picture, the rest as one more, largest first."""
    found: list[tuple[int, int, tuple[slice, slice], NDArray[np.bool_]]] = []
    least = MIN_REGION_AREA * mask.size
    for index in np.flatnonzero(np.bincount(mask.ravel()) >= least).tolist():
        labels, _ = ndimage.label(mask == index)
        sizes = np.bincount(labels.ravel())
        boxes = ndimage.find_objects(labels)
        for number in (np.flatnonzero(sizes[1:] >= least) + 1).tolist():
            box = boxes[number - 1]
            found.append((int(sizes[number]), index, box, labels[box] == number))
    found.sort(key=lambda segment: -segment[0])
    rest = len(found)
    numbers = np.full(mask.shape, rest, np.int32)
    height, width = mask.shape
    classes: list[int | None] = []
    corners: list[tuple[float, float, float, float]] = []
    for place, (_, index, (ys, xs), inside) in enumerate(found):
        numbers[ys, xs][inside] = place
        classes.append(index)
        corners.append((xs.start / width, ys.start / height, xs.stop / width, ys.stop / height))
    if (numbers == rest).any():
        classes.append(None)
        corners.append((0.0, 0.0, 1.0, 1.0))
    return Segments(numbers, classes, corners)


def occupancy_of(numbers: NDArray[np.int32], count: int, grid: tuple[int, int]) -> Floats:
    """Pixels of each region in each cell of a grid over the picture, float32 (R, cells)."""
    return _cell_counts(grid, numbers, count).T.astype(np.float32)


def _means(values: Floats, occupancy: Floats) -> Floats:
    """Mean of a (gh, gw, F) map over each region, (R, F).

    Every pixel reads the cell it lies in, so the area-weighted sum of the means is exactly the mean
    over all pixels: what makes explanations add up.
    """
    means: Floats = (occupancy @ values.reshape(-1, values.shape[2])) / occupancy.sum(
        1, keepdims=True
    )
    return means


def describe(picture: ParsedPicture, classes: int, whitening: Whitening) -> Description:
    """Vectors and regions of one parsed picture (definitions: docs/architecture.md, "Vectors")."""
    segments = segments_of(picture.mask)
    count = len(segments.classes)

    def mean(values: Floats) -> Floats:
        grid = (values.shape[0], values.shape[1])
        return _means(values, occupancy_of(segments.numbers, count, grid))

    return assembled(
        picture.mask,
        segments,
        whitening(mean(picture.features)),
        mean(picture.confidence[..., None])[:, 0],
        _cell_counts((GRID, GRID), picture.mask, classes),
    )


def assembled(
    mask: NDArray[np.uint8],
    segments: Segments,
    projected: Floats,
    confidences: Floats,
    counts: NDArray[np.integer[Any]],
) -> Description:
    """A description from what was pooled, on whatever device.

    Args:
        mask: uint8 (h, w) class map.
        segments: its regions, R of them.
        projected: float32 (R, D), W (v − μ) of each region's mean features.
        confidences: float32 (R,), mean probability of the predicted class.
        counts: (64, classes), pixels of each class in each cell of the layout.
    """
    sizes = np.bincount(segments.numbers.ravel(), minlength=len(segments.classes))
    shares = (sizes / mask.size).astype(np.float32)
    areas: Floats = (counts.sum(0) / mask.size).astype(np.float32)
    context, context_norm = unit((shares[:, None] * projected).sum(0))
    regions = []
    for number, box in enumerate(segments.boxes):
        vector, norm = unit(projected[number])
        regions.append(
            RegionDescription(
                class_index=segments.classes[number],
                area=float(shares[number]),
                box=box,
                confidence=float(confidences[number]),
                vector=vector,
                norm=norm,
            )
        )
    indices, values = layout_from(counts)
    return Description(
        mask=mask,
        confidence=float((shares * confidences).sum()),
        areas=areas,
        composition=composition_of(areas),
        layout_indices=indices,
        layout_values=values,
        layout_width=GRID * GRID * counts.shape[1],
        context=context,
        context_norm=context_norm,
        regions=regions,
    )
