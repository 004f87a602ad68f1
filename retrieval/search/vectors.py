"""From examples and painted cells to the vector that is searched near in each space."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Descriptor, Image
from retrieval.permissions import visible_to
from retrieval.search.grammar import GRID, Query

UNLIKE_WEIGHT = 0.25
"""Weight of the mean counter-example beside the mean example (Rocchio 1971; Manning et al.,
Introduction to Information Retrieval, 2008, section 9.1.1, takes it as well below 1)."""

Vector = NDArray[np.float64]


def query_vectors(query: Query, user: Any) -> dict[str, Vector]:
    """The vector to search near in each space that has a weight, float64 (width of the space,).

    Examples are averaged by weight, counter-examples subtracted (Rocchio), painted cells added; the
    sum has length 1. A painted layout alone is longer: its similarity to a picture is the mean of
    sqrt(occupancy) over the painted cells, 1 where each is filled by its class.

    Raises:
        NotFound: an example does not exist for this user.
        QueryInvalid: an example is not parsed, or the examples cancel each other out.
    """
    examples = _descriptors(query, user)
    vectors = {}
    for space in query.rank:
        if space == "layout" and query.cells and not examples:
            vectors[space] = painted(query) * GRID / len(query.cells)
            continue
        total = _rocchio(query, examples, space)
        if space == "layout" and query.cells:
            total = total + painted(query) / np.sqrt(len(query.cells))
        length = float(np.linalg.norm(total))
        if length < 1e-6:
            raise QueryInvalid("The examples cancel each other out.", field="unlike")
        vectors[space] = total / length
    return vectors


def painted(query: Query) -> Vector:
    """1 at each painted (row, column, class), float64 (64 · C,)."""
    classes = query.release.classes.count()
    vector = np.zeros(GRID * GRID * classes)
    for row, column, index in query.cells:
        vector[(row * GRID + column) * classes + index] = 1.0
    return vector


def _rocchio(query: Query, examples: Mapping[uuid.UUID, Descriptor], space: str) -> Vector:
    total: Any = 0.0
    for group, sign in ((query.like, 1.0), (query.unlike, -UNLIKE_WEIGHT)):
        weights = sum(example.weight for example in group)
        for example in group:
            share = sign * example.weight / weights
            total = total + share * dense(examples[example.image], space)
    return np.asarray(total, np.float64)


def dense(descriptor: Descriptor, space: str) -> Vector:
    """A stored vector with its zeros, float64 (width of the space,)."""
    return np.asarray(getattr(descriptor, space).to_numpy(), np.float64)


def _descriptors(query: Query, user: Any) -> dict[uuid.UUID, Descriptor]:
    """Descriptors of the examples, which are `done` and the user's to see."""
    asked = {example.image for example in query.examples}
    if not asked:
        return {}
    visible = visible_to(user)
    done = Image.objects.filter(
        pk__in=asked, collection__in=visible, analyses__release=query.release,
        analyses__state="done",
    )  # fmt: skip
    rows = Descriptor.objects.filter(release=query.release, image__in=done)
    found = {row.image_id: row for row in rows}
    for name in ("like", "unlike"):
        for position, example in enumerate(getattr(query, name)):
            if example.image in found:
                continue
            where = f"{name}[{position}].image"
            if Image.objects.filter(pk=example.image, collection__in=visible).exists():
                message = f"Image {example.image} is not parsed yet, or could not be."
                raise QueryInvalid(message, field=where)
            raise NotFound(f"There is no image {example.image}.", field=where)
    return found
