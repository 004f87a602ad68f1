"""From a checked query to the vectors that are searched near."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector, SparseVector

from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Descriptor, Image, Mask, Region, Release
from retrieval.permissions import visible_to
from retrieval.search.boxes import box_vector, class_map, covered
from retrieval.search.grammar import GRID, Example, Query

UNLIKE_WEIGHT = 0.25
"""Weight of the mean counter-example beside the mean example (Rocchio, SMART, 1971)."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A region or box that is searched near.

    Attributes:
        example: what asked for it.
        vector: of length 1.
        share: factor of its similarity in the region score; negative for counter-examples.
    """

    example: Example
    vector: Vector
    share: float


@dataclass(frozen=True)
class Targets:
    """What is searched near: a vector in each space of whole pictures, and parts."""

    vectors: dict[str, Vector] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()


def numbers(value: Any) -> Vector:
    """A vector as its column gives it, float64 (width,), zeros included."""
    found = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    return np.asarray(found, np.float64)


def dense(descriptor: Descriptor, space: str) -> Vector:
    """A stored vector of a whole picture, float64 (width,), zeros included."""
    return numbers(getattr(descriptor, space))


def as_text(space: str, vector: Vector) -> str:
    """What pgvector reads."""
    kind = SparseVector if space == "layout" else HalfVector
    return str(kind(vector).to_text())


def nearest_uniform(space: str, vector: Vector, least: float) -> list[int]:
    """Classes whose pictures of nothing else are at least so similar to this vector, nearest first.

    Args:
        space: layout, compared by inner product, or composition, by cosine.
    """
    if space == "layout":
        similar = (
            vector.reshape(GRID * GRID, -1).sum(0) / GRID
        )  # theirs has 1/8 in each of 64 cells
    else:
        similar = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return [int(index) for index in np.argsort(-similar) if similar[index] >= least]


def painted(cells: Sequence[tuple[int, int, int]], classes: int) -> Vector:
    """Query vector of a painted scene, float64 (64·C,); zero where nothing was painted.

    Its inner product with a stored layout is the mean over painted cells of sqrt(share of the cell
    that has the painted class): 1 where all is as painted. (Stored layouts have length 1, so each of
    their 64 cells weighs 1/8.) Classes painted over each other in one cell share it.
    """
    vector = np.zeros(GRID * GRID * classes)
    in_cell = Counter((row, column) for row, column, _ in cells)
    for row, column, index in cells:
        place = (row * GRID + column) * classes + index
        vector[place] = GRID / len(in_cell) / np.sqrt(in_cell[row, column])
    return vector


def descriptors_of(query: Query, release: Release, user: Any) -> dict[uuid.UUID, Descriptor]:
    """Descriptors of the query's examples; NotFound or QueryInvalid where there is none."""
    asked = {example.image for example in query.examples}
    visible = visible_to(user)
    rows = Descriptor.objects.filter(release=release, image_id__in=asked, collection__in=visible)
    found = {row.image_id: row for row in rows}
    for image in asked - set(found):
        if Image.objects.filter(pk=image, collection__in=visible).exists():
            raise QueryInvalid(f"Image {image} is not parsed yet, or could not be.", field="like")
        raise NotFound(f"There is no image {image}.", field="like")
    return found


def _groups(query: Query, parts: bool) -> list[tuple[Example, float]]:
    """Examples with their shares: those to be like sum to 1, those to be unlike to -0.25."""
    found = []
    for group, sign in ((query.like, 1.0), (query.unlike, -UNLIKE_WEIGHT)):
        chosen = [example for example in group if example.is_part == parts]
        weights = sum(example.weight for example in chosen) or 1.0
        found += [(example, sign * example.weight / weights) for example in chosen]
    return found


def example_shares(query: Query) -> list[tuple[Example, float]]:
    """Whole pictures with their factors in the query vector before it is normalised."""
    return _groups(query, parts=False)


def _unit(vector: Any) -> Vector | None:
    norm = float(np.linalg.norm(vector))
    return np.asarray(vector, np.float64) / norm if norm > 1e-9 else None


def _whole(
    query: Query, release: Release, examples: dict[uuid.UUID, Descriptor], space: str
) -> Vector | None:
    total: Any = 0.0
    for example, share in example_shares(query):
        total = total + share * dense(examples[example.image], space)
    vector = _unit(total)
    if space != "layout" or not query.cells:
        return vector
    scene = painted(query.cells, release.classes.count())
    return scene if vector is None else (scene + vector) / 2


def part_vector(example: Example, release: Release) -> Vector:
    """Vector of a region or box, of length 1.

    Raises:
        QueryInvalid: there is no such region, or nothing in the box.
    """
    regions = list(Region.objects.filter(image_id=example.image, release=release))
    if example.box is not None:
        mask = Mask.objects.filter(image_id=example.image, release=release).first()
        if mask is None:
            raise QueryInvalid(f"Image {example.image} has no mask.", field="like")
        shares = covered(class_map(mask), example.box)
        return box_vector(shares, {r.number: r.norm * numbers(r.vector) for r in regions})
    for region in regions:
        if region.number == example.region:
            return numbers(region.vector)
    raise QueryInvalid(
        f"Image {example.image} has no region {example.region}; it has {len(regions)}, from 0.",
        field="like",
    )


def targets_of(query: Query, release: Release, user: Any) -> Targets:
    """What to search near in each space that has a weight.

    Examples are averaged by weight and counter-examples subtracted (Rocchio). Regions and boxes are
    not averaged: each looks for its own best segment of a picture.

    Raises:
        NotFound: an example is not there for this user.
        QueryInvalid: an example is not parsed yet, or has no such part; or no weight is over 0 of
            what the query shows.
    """
    examples = descriptors_of(query, release, user)
    vectors = {}
    for space in query.rank:
        if space != "region":
            vector = _whole(query, release, examples, space)
            if vector is not None:
                vectors[space] = vector
    parts = []
    if "region" in query.rank:
        parts = [Part(e, part_vector(e, release), share) for e, share in _groups(query, True)]
    if query.has_vectors and not vectors and not parts:
        raise QueryInvalid(
            "rank gives no weight to what the query shows: pictures are compared by context, layout "
            "and composition, a painted scene by layout, regions and boxes by region.",
            field="rank",
        )
    return Targets(vectors, tuple(parts))


def cells_of(image: uuid.UUID, release: Release) -> list[tuple[int, int, int]]:
    """A picture's own layout as a painted scene: of each cell the class that fills most of it.

    Returns (row, column, class index) of the 64 cells; QueryInvalid when the picture is not parsed.
    """
    row = Descriptor.objects.filter(image_id=image, release=release).first()
    if row is None:
        raise QueryInvalid(f"Image {image} is not parsed yet, or could not be.", field="image")
    grid = dense(row, "layout").reshape(GRID * GRID, -1)
    return [
        (cell // GRID, cell % GRID, int(classes.argmax()))
        for cell, classes in enumerate(grid)
        if classes.any()
    ]
