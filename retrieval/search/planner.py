"""Answering a checked query: which rows to compare, how, and what to tell about it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from pgvector import HalfVector, SparseVector

from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Descriptor, Image, Release
from retrieval.permissions import visible_to
from retrieval.search import sql
from retrieval.search.grammar import GRID, Query

UNLIKE_WEIGHT = 0.25
"""Weight of the mean counter-example beside the mean example (Rocchio, SMART, 1971)."""


@dataclass(frozen=True)
class Hit:
    """A picture found: its weighted score, and per space its similarity."""

    image: Image
    score: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """Hits, nearest first, and the plan that found them."""

    hits: list[Hit]
    plan: dict[str, Any]


def _dense(descriptor: Descriptor, space: str) -> NDArray[np.float64]:
    value: Any = getattr(descriptor, space)
    dense = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    return np.asarray(dense, np.float64)


def _text(space: str, vector: NDArray[np.float64]) -> str:
    kind = SparseVector if space == "layout" else HalfVector
    return str(kind(vector).to_text())


def _painted(query: Query, classes: int) -> NDArray[np.float64]:
    vector = np.zeros(GRID * GRID * classes)
    for row, column, index in query.cells:
        vector[(row * GRID + column) * classes + index] = 1.0
    norm: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return norm


def _examples(query: Query, release: Release, user: Any) -> dict[uuid.UUID, Descriptor]:
    asked = {example.image for example in (*query.like, *query.unlike)}
    visible = visible_to(user)
    rows = Descriptor.objects.filter(release=release, image_id__in=asked, collection__in=visible)
    found = {row.image_id: row for row in rows}
    for image in asked - set(found):
        if Image.objects.filter(pk=image, collection__in=visible).exists():
            raise QueryInvalid(f"Image {image} is not parsed yet, or could not be.", field="like")
        raise NotFound(f"There is no image {image}.", field="like")
    return found


def query_vectors(query: Query, release: Release, user: Any) -> dict[str, NDArray[np.float64]]:
    """The vector to search near in each space that has a weight; each of length 1.

    Examples are averaged by weight and counter-examples subtracted (Rocchio).
    """
    examples = _examples(query, release, user)
    vectors: dict[str, NDArray[np.float64]] = {}
    for space, weight in query.rank.items():
        if weight <= 0:
            continue
        total: Any = 0.0
        for group, sign in ((query.like, 1.0), (query.unlike, -UNLIKE_WEIGHT)):
            weights = sum(example.weight for example in group) or 1.0
            for example in group:
                share = sign * example.weight / weights
                total = total + share * _dense(examples[example.image], space)
        if space == "layout" and query.cells:
            total = total + _painted(query, release.classes.count())
        norm = float(np.linalg.norm(total))
        if norm > 1e-9:
            vectors[space] = np.asarray(total) / norm
    return vectors


def _collections(query: Query, user: Any) -> list[int]:
    allowed = visible_to(user).filter(kind="normal")
    if query.where.collections:
        allowed = allowed.filter(pk__in=query.where.collections)
    return list(allowed.values_list("pk", flat=True))


def _index_answer(
    query: Query,
    release: Release,
    where: sql.Clause,
    clauses: Mapping[str, sql.Clause],
    spaces: Mapping[str, sql.Space],
) -> tuple[list[tuple[Any, ...]], int]:
    """Candidates of every space, then exact scores over their union."""
    number = max(4 * query.limit, 200)
    union: set[Any] = set()
    for space, clause in clauses.items():
        union.update(sql.candidates(where, spaces[space], clause.values[0], number))
    near = sql.Clause(f"{where.text} AND d.image_id = ANY(%s)", (*where.values, list(union)))
    return sql.exact(near, clauses, query.rank, query.limit), len(union)


def run(query: Query, user: Any, release: Release | None = None) -> Answer:
    """The nearest visible pictures that match; at least min(limit, matching) of them.

    Few matches are compared one by one, exactly; many go through the release's HNSW indexes.

    Raises:
        NotFound: an example is not there for this user.
        QueryInvalid: an example is not parsed yet.
        NoActiveRelease: nothing to search in.
    """
    from retrieval.upload import active_release

    started = time.perf_counter()
    release = release or active_release()
    hidden = [example.image for example in (*query.like, *query.unlike)]
    where = sql.filters(query, release, _collections(query, user), hidden)
    vectors = query_vectors(query, release, user) if query.has_vectors else {}
    matching = sql.count_up_to(where, settings.EXACT_ROWS + 1)
    compared = matching
    if not vectors:
        indices = [asked.index for asked in query.classes if asked.min > 0]
        rows = sql.by_classes(where, release, indices, query.limit)
        kind, names = "sql", ["share"]
    else:
        spaces = sql.spaces_of(release)
        unit = not query.cells
        clauses = {
            name: sql.Clause(spaces[name].similarity(query.metric, unit), (_text(name, vector),))
            for name, vector in vectors.items()
        }
        names, kind = list(clauses), "exact"
        rows = []
        if matching > settings.EXACT_ROWS and not query.exact and sql.index_names(release):
            rows, compared = _index_answer(query, release, where, clauses, spaces)
            kind = "index"
        if len(rows) < min(query.limit, matching):
            rows, kind, compared = (
                sql.exact(where, clauses, query.rank, query.limit),
                "exact",
                matching,
            )
    return Answer(
        _hits(rows, names),
        {
            "kind": kind,
            "matching": matching,
            "matching_is_lower_bound": matching > settings.EXACT_ROWS,
            "compared": compared,
            "release": release.name,
            "metric": query.metric,
            "rank": dict(query.rank) if vectors else {"share": 1.0},
            "ms": round(1000 * (time.perf_counter() - started), 1),
        },
    )


def _hits(rows: list[tuple[Any, ...]], names: list[str]) -> list[Hit]:
    images = Image.objects.select_related("collection").in_bulk([row[0] for row in rows])
    hits = []
    for row in rows:
        values = row[2:] if len(row) > 2 else row[1:]
        parts = {name: round(float(v), 5) for name, v in zip(names, values, strict=True)}
        if row[0] in images:
            hits.append(Hit(images[row[0]], round(float(row[1]), 5), parts))
    return hits
