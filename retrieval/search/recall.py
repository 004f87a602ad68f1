"""How much of the exact answer the indexes find on this collection, measured now and then."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retrieval.models import Collection, Descriptor, Region, Release, Statistic
from retrieval.search import sql, statistics
from retrieval.search.grammar import Example, Query, parse
from retrieval.search.indexes import indexed_spaces
from retrieval.search.planner import CANDIDATES, Search, candidates_of, within
from retrieval.search.vectors import Part, Targets, cells_of, dense, numbers, painted

QUERIES = 20
NEAREST = 10
PAINTED_CELLS = 24
"""Cells of a measured scene, as in the benchmark of docs/search.md."""
TIE = 1e-6


def recall_of(found: list[float], best: list[float]) -> float:
    """Share of the exact answer's places that are taken by rows at least as near as its last.

    Ties make many rows equally right, above all in painted scenes.
    """
    if not best:
        return 1.0
    return min(1.0, sum(score >= best[-1] - TIE for score in found) / len(best))


def _one(search: Search, images: int) -> tuple[float, float, float]:
    """Recall of one search among so many pictures; milliseconds through the index and exactly."""
    started = time.perf_counter()
    pool, _ = candidates_of(search, CANDIDATES, images)
    found = sql.exact(within(search.where, pool, True), search.scoring, NEAREST)
    middle = time.perf_counter()
    best = sql.exact(search.where, search.scoring, NEAREST)
    ended = time.perf_counter()
    recall = recall_of([row[1] for row in found], [row[1] for row in best])
    return recall, 1000 * (middle - started), 1000 * (ended - middle)


@dataclass(frozen=True)
class _Asked:
    """One query to measure: what is searched near, and how its spaces are weighed."""

    targets: Targets
    rank: dict[str, float]
    cells: tuple[tuple[int, int, int], ...] = ()


def _search(row: Descriptor, collections: list[int], release: Release, asked: _Asked) -> Search:
    query: Query = replace(parse({}, release=release), cells=asked.cells)
    where = sql.filters(query, release, collections, [row.image_id])
    return Search(query, None, release, where, asked.targets, asked.rank)


def _painted(row: Descriptor, release: Release) -> _Asked | None:
    """A scene as a person would paint it: some cells of a real layout, each with its main class."""
    cells = cells_of(row.image_id, release)
    if not cells:
        return None
    chosen = tuple(random.sample(cells, min(PAINTED_CELLS, len(cells))))
    scene = painted(chosen, release.classes.count())
    return _Asked(Targets({"layout": scene}), {"layout": 1.0}, chosen)


def _region(row: Descriptor, release: Release) -> _Asked | None:
    """A segment of the picture; None where it has none of a class."""
    segments = Region.objects.filter(
        release=release, image=row.image_id, class_index__isnull=False, norm__gt=0
    )
    segment = segments.order_by("?").first()
    if segment is None:
        return None
    part = Part(Example(row.image_id, region=segment.number), numbers(segment.vector), 1.0)
    return _Asked(Targets({}, (part,)), {"region": 1.0})


def _whole(rank: dict[str, float]) -> Callable[[Descriptor, Release], _Asked]:
    return lambda row, _: _Asked(Targets({space: dense(row, space) for space in rank}), rank)


def _ways(release: Release) -> dict[str, Callable[[Descriptor, Release], _Asked | None]]:
    """How a query of each kind that the indexes can answer is made from a picture."""
    present = indexed_spaces(release)
    spaces = [space for space in ("context", "layout", "composition") if space in present]
    ways: dict[str, Callable[[Descriptor, Release], _Asked | None]] = {
        space: _whole({space: 1.0}) for space in spaces
    }
    if set(release.ranking) <= set(spaces):
        ways["default"] = _whole(dict(release.ranking))
    if "layout" in present:
        ways["painted"] = _painted
    if "region" in present:
        ways["region"] = _region
    return ways


def measure(collection: Collection | None, release: Release) -> Statistic | None:
    """recall@10 of each kind of query, see `kind_of`, over random pictures.

    Kept as {kind: figures, or None where no picture has what the kind asks with}. None while no index
    is built.
    """
    ways = _ways(release)
    if not ways:
        return None
    rows = Descriptor.objects.filter(release=release, collection__kind="normal")
    rows = rows.filter(collection=collection) if collection else rows
    collections = list(rows.values_list("collection_id", flat=True).distinct())
    images = rows.count()
    values: dict[str, Any] = {}
    chosen = list(rows.order_by("?")[:QUERIES])
    for name, way in ways.items():
        asked = [(row, one) for row in chosen if (one := way(row, release)) is not None]
        figures = [_one(_search(row, collections, release, one), images) for row, one in asked]
        values[name] = None
        if figures:
            recall, index_ms, exact_ms = np.mean(figures, axis=0)
            values[name] = {
                "recall_at_10": round(float(recall), 4),
                "index_ms": round(float(index_ms), 1),
                "exact_ms": round(float(exact_ms), 1),
            }
    return statistics.keep(collection, release, "recall", images, values)


def lacks(collection: Collection | None, release: Release) -> bool:
    """Whether an index came, or a kind of query, since the collection was measured."""
    found = statistics.kept(collection, release, "recall")
    return found is not None and not set(_ways(release)) <= set(found.values)


def kind_of(search: Search) -> str | None:
    """Which of the measured kinds a search is; None for a mix that is not measured.

    A space alone, `default` for the release's ranking of whole pictures, `painted` for a scene,
    `region` for regions and boxes.
    """
    whole = any(not example.is_part for example in search.query.examples)
    if search.query.cells:
        return "painted" if set(search.rank) == {"layout"} and not whole else None
    if len(search.rank) == 1:
        return next(iter(search.rank))
    ranking = {space: weight for space, weight in search.release.ranking.items() if weight > 0}
    total = sum(ranking.values())
    same = set(search.rank) == set(ranking) and all(
        abs(search.rank[space] - weight / total) < TIE for space, weight in ranking.items()
    )
    return "default" if same else None


def last_measured(
    collections: list[int], release: Release, kind: str | None
) -> dict[str, Any] | None:
    """{"at_10", "of", "measured_at"} for an answer's plan, or None when the kind was not measured."""
    only = collections[0] if len(collections) == 1 else None
    rows = Statistic.objects.filter(release=release, name="recall")
    found = rows.filter(collection=only).first() or rows.filter(collection=None).first()
    figures = found.values.get(kind) if found is not None and kind is not None else None
    if found is None or figures is None:
        return None
    return {
        "at_10": figures["recall_at_10"],
        "of": kind,
        "measured_at": found.measured_at.isoformat(),
    }
