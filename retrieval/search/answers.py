"""From rows to an answer: hits with their regions and percentiles, and the plan in numbers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from retrieval.models import Image, Release
from retrieval.search import paging, percentiles, sql
from retrieval.search.grammar import Query
from retrieval.search.planner import (
    Page,
    Search,
    make_ready,
    next_cursor,
    page_of,
    searched_collections,
)
from retrieval.search.recall import kind_of, last_measured
from retrieval.search.sql import Row
from retrieval.search.vectors import as_text
from retrieval.selectors import classes_of


@dataclass(frozen=True)
class MatchedRegion:
    """The segment of a hit that is most like one region or box of the query.

    Attributes:
        example: position of that region or box among the query's, counter-examples left out.
        box: (x0, y0, x1, y1) as shares of the picture.
    """

    example: int
    number: int
    class_index: int
    class_name: str
    area: float
    box: tuple[float, float, float, float]
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the class by its name."""
        values = asdict(self)
        del values["class_index"]
        name = values.pop("class_name")
        return {**values, "class": name, "box": list(self.box)}


@dataclass(frozen=True)
class Hit:
    """A picture found: its weighted score, and per space its similarity.

    Attributes:
        percentiles: of the score and of each similarity, the share in percent of random pairs of
            the hit's collection that are less alike; without those that were not measured.
    """

    image: Image
    score: float
    parts: Mapping[str, float]
    regions: tuple[MatchedRegion, ...] = ()
    percentiles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Hits, nearest first, the plan that found them, and where the next page starts."""

    hits: list[Hit]
    plan: dict[str, Any]
    cursor: str | None = None


def run(query: Query, user: Any, release: Release | None = None) -> Answer:
    """The nearest visible pictures that match; at least min(limit, matching) of them.

    Few matches are compared one by one, exactly; many go through the release's HNSW indexes.

    Raises:
        NotFound: an example is not there for this user.
        QueryInvalid: an example is not parsed yet; a cursor is of another query, or too old.
        NoActiveRelease: nothing to search in.
    """
    from retrieval.upload import active_release

    started = time.perf_counter()
    release = release or active_release()
    place = paging.read(query, release)
    search = make_ready(query, user, release)
    page = page_of(search, place)
    cursor = next_cursor(search, page, place)
    hits = _hits(page.rows[: query.limit], search.scoring.names or ["share"])
    hits = _with_percentiles(_with_regions(hits, search), search)
    return Answer(hits, _plan(search, page, started), cursor)


def _plan(search: Search, page: Page, started: float) -> dict[str, Any]:
    recall = None
    if page.kind == "index":
        collections = searched_collections(search.query, search.user)
        recall = last_measured(collections, search.release, kind_of(search))
    return {
        "kind": page.kind,
        "matching": page.matching,
        "matching_is_lower_bound": page.more,
        "compared": page.compared,
        "release": search.release.name,
        "metric": search.query.metric,
        "rank": dict(search.rank) or {"share": 1.0},
        "recall": recall,
        "ms": round(1000 * (time.perf_counter() - started), 1),
    }


def _hits(rows: list[Row], names: list[str]) -> list[Hit]:
    images = Image.objects.select_related("collection").in_bulk([row[0] for row in rows])
    hits = []
    for row in rows:
        values = row[2:] if len(row) > 2 else row[1:]
        parts = {name: round(float(v), 5) for name, v in zip(names, values, strict=True)}
        if row[0] in images:
            hits.append(Hit(images[row[0]], round(float(row[1]), 5), parts))
    return hits


def _with_regions(hits: list[Hit], search: Search) -> list[Hit]:
    """Add the segments that matched the query's regions and boxes."""
    if not search.targets.parts:
        return hits
    space = sql.spaces_of(search.release)["region"]
    names = {found.index: found.name for found in classes_of(search.release)}
    found: dict[uuid.UUID, list[MatchedRegion]] = {hit.image.pk: [] for hit in hits}
    liked = [part for part in search.targets.parts if part.share > 0]
    for position, part in enumerate(liked):
        rows = sql.matched_regions(
            space,
            search.release,
            as_text("region", part.vector),
            part.example.class_index,
            list(found),
        )
        for image, number, class_index, area, box, similarity in rows:
            x0, y0, x1, y1 = json.loads(box)
            name, corners = names.get(class_index, ""), (x0, y0, x1, y1)
            similarity = round(similarity, 5)
            found[image].append(
                MatchedRegion(position, number, class_index, name, area, corners, similarity)
            )
    return [replace(hit, regions=tuple(found[hit.image.pk])) for hit in hits]


def _with_percentiles(hits: list[Hit], search: Search) -> list[Hit]:
    """Place scores among random pairs; a painted scene is no picture, so it is not placed."""
    if not search.rank or search.query.cells:
        return hits
    collections = list({hit.image.collection_id for hit in hits})
    pairs = percentiles.samples_for(collections, search.release, "pairs")
    regions = percentiles.samples_for(collections, search.release, "regions")
    metric = search.query.metric
    return [
        replace(
            hit,
            percentiles=percentiles.of_parts(
                hit.image.collection_id,
                hit.parts,
                search.rank,
                hit.score,
                metric,
                pairs,
                regions,
            ),
        )
        for hit in hits
    ]
