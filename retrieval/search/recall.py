"""How much of the exact answer the indexes find on this collection, measured now and then."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from retrieval.models import Collection, Descriptor, Release, Statistic
from retrieval.search import sql, statistics
from retrieval.search.grammar import Query, parse
from retrieval.search.indexes import indexed_spaces
from retrieval.search.planner import CANDIDATES, Search, candidates_of, within
from retrieval.search.vectors import Targets, dense

QUERIES = 20
NEAREST = 10
TIE = 1e-6


def recall_of(found: list[float], best: list[float]) -> float:
    """Share of the exact answer's places that are taken by rows at least as near as its last.

    Ties make many rows equally right, above all in painted scenes.
    """
    if not best:
        return 1.0
    return min(1.0, sum(score >= best[-1] - TIE for score in found) / len(best))


def _one(search: Search) -> tuple[float, float, float]:
    """Recall of one search, and milliseconds through the index and exactly."""
    started = time.perf_counter()
    pool, _ = candidates_of(search, CANDIDATES)
    found = sql.exact(within(search.where, pool, True), search.scoring, NEAREST)
    middle = time.perf_counter()
    best = sql.exact(search.where, search.scoring, NEAREST)
    ended = time.perf_counter()
    recall = recall_of([row[1] for row in found], [row[1] for row in best])
    return recall, 1000 * (middle - started), 1000 * (ended - middle)


def _search(
    row: Descriptor, collections: list[int], release: Release, rank: dict[str, float], images: int
) -> Search:
    query: Query = parse({}, release=release)
    where = sql.filters(query, release, collections, [row.image_id])
    targets = Targets({space: dense(row, space) for space in rank})
    return Search(query, None, release, where, targets, rank, images)


def measure(collection: Collection | None, release: Release) -> Statistic | None:
    """recall@10 of each space and of the default ranking, over random pictures as queries.

    None while the indexes are not built.
    """
    spaces = [s for s in ("context", "layout", "composition") if s in indexed_spaces(release)]
    if not spaces:
        return None
    rows = Descriptor.objects.filter(release=release, collection__kind="normal")
    rows = rows.filter(collection=collection) if collection else rows
    collections = list(rows.values_list("collection_id", flat=True).distinct())
    images = rows.count()
    ways: dict[str, dict[str, float]] = {space: {space: 1.0} for space in spaces}
    if set(release.ranking) <= set(spaces):
        ways["default"] = dict(release.ranking)
    values: dict[str, Any] = {}
    chosen = list(rows.order_by("?")[:QUERIES])
    for name, rank in ways.items():
        figures = [_one(_search(row, collections, release, rank, images)) for row in chosen]
        recall, index_ms, exact_ms = np.mean(figures, axis=0)
        values[name] = {
            "recall_at_10": round(float(recall), 4),
            "index_ms": round(float(index_ms), 1),
            "exact_ms": round(float(exact_ms), 1),
        }
    return statistics.keep(collection, release, "recall", images, values)


def last_measured(
    collections: list[int], release: Release, rank: dict[str, float]
) -> dict[str, Any] | None:
    """{"at_10", "of", "measured_at"} for an answer's plan, or None when never measured."""
    only = collections[0] if len(collections) == 1 else None
    rows = Statistic.objects.filter(release=release, name="recall")
    found = rows.filter(collection=only).first() or rows.filter(collection=None).first()
    if found is None:
        return None
    name = next(iter(rank)) if len(rank) == 1 else "default"
    if name not in found.values:
        return None
    return {
        "at_10": found.values[name]["recall_at_10"],
        "of": name,
        "measured_at": found.measured_at.isoformat(),
    }
