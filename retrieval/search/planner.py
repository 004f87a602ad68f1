"""Answering a checked query: which rows to compare, how, and what to tell about it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from django.conf import settings

from retrieval.models import Image, Release
from retrieval.permissions import visible_to
from retrieval.search import paging, sql
from retrieval.search.grammar import Query
from retrieval.search.indexes import indexed_spaces
from retrieval.search.sql import Clause, Row, Scoring
from retrieval.search.vectors import Targets, as_text, targets_of
from retrieval.selectors import classes_of

CANDIDATES = 200
"""Least number of candidates that each space gives when an index is used."""


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


@dataclass(frozen=True)
class Search:
    """A query made ready for SQL.

    Attributes:
        rank: weights of the spaces in use; they sum to 1.
    """

    query: Query
    user: Any
    release: Release
    where: Clause
    targets: Targets
    rank: Mapping[str, float]
    matching: int

    @cached_property
    def scoring(self) -> Scoring:
        spaces, metric = sql.spaces_of(self.release), self.query.metric
        parts = {
            name: Clause(
                spaces[name].similarity(metric, not self.query.cells), (as_text(name, vector),)
            )
            for name, vector in self.targets.vectors.items()
        }
        if self.targets.parts:
            parts["region"] = self._region_clause(spaces["region"])
        return Scoring(parts, dict(self.rank))

    def _region_clause(self, space: sql.Space) -> Clause:
        texts: list[str] = []
        values: list[Any] = []
        for part in self.targets.parts:
            vector = as_text("region", part.vector)
            best = sql.best_region(
                space, self.release, vector, part.example.class_index, self.query.metric
            )
            texts.append(f"{part.share!r} * {best.text}")
            values += best.values
        return Clause(" + ".join(texts), tuple(values))


@dataclass(frozen=True)
class _Page:
    """Rows of a page and one more, if there is one; how they were found."""

    rows: list[Row]
    kind: str
    compared: int
    pool: tuple[uuid.UUID, ...] = ()
    beyond_from: int | None = None


def searched_collections(query: Query, user: Any) -> list[int]:
    """Ids of the collections that are searched: visible, and asked for where some are."""
    allowed = visible_to(user).filter(kind="normal")
    if query.where.collections:
        allowed = allowed.filter(pk__in=query.where.collections)
    return sorted(allowed.values_list("pk", flat=True))


def where_of(query: Query, user: Any, release: Release) -> Clause:
    """The query's filters, the user's rights among them; its examples are no hits."""
    hidden = sorted({example.image for example in query.examples})
    return sql.filters(query, release, searched_collections(query, user), hidden)


def make_ready(query: Query, user: Any, release: Release) -> Search:
    """Look up what the query's examples are, and count what it matches."""
    targets = targets_of(query, release, user) if query.has_vectors else Targets()
    used = [*targets.vectors, *(["region"] if targets.parts else [])]
    total = sum(query.rank[space] for space in used)
    rank = {space: query.rank[space] / total for space in used}
    where = where_of(query, user, release)
    matching = sql.count_up_to(where, settings.EXACT_ROWS + 1)
    return Search(query, user, release, where, targets, rank, matching)


# --- the ways ----------------------------------------------------------------------------------


def _by_classes(search: Search, place: paging.Cursor | None, most: int) -> _Page:
    indices = [asked.index for asked in search.query.classes if asked.min > 0]
    after = (place.score, place.image) if place else None
    rows = sql.by_classes(search.where, search.release, indices, most, after)
    return _Page(rows, "sql", search.matching)


def _exact(search: Search, place: paging.Cursor | None, most: int) -> _Page:
    after = (place.score, place.image) if place else None
    rows = sql.exact(search.where, search.scoring, most, after)
    return _Page(rows, "exact", search.matching)


def _within(where: Clause, images: Sequence[uuid.UUID], inside: bool) -> Clause:
    test = "= ANY(%s)" if inside else "<> ALL(%s)"
    return Clause(f"{where.text} AND d.image_id {test}", (*where.values, list(images)))


def candidates_of(search: Search, number: int) -> list[uuid.UUID]:
    """Union of about `number` nearest in each space in use, through the indexes."""
    spaces = sql.spaces_of(search.release)
    ef_search, max_scan = effort(search, number)
    union: dict[uuid.UUID, None] = {}
    for name, vector in search.targets.vectors.items():
        text = as_text(name, vector)
        found = sql.candidates(search.where, spaces[name], text, number, ef_search, max_scan)
        union |= dict.fromkeys(found)
    for part in search.targets.parts:
        if part.share > 0:
            found = sql.region_candidates(
                search.where,
                spaces["region"],
                search.release,
                as_text("region", part.vector),
                part.example.class_index,
                number,
                ef_search,
                max_scan,
            )
            union |= dict.fromkeys(found)
    return list(union)


def effort(search: Search, number: int) -> tuple[int, int]:
    """ef_search, and the most rows that an iterative scan may look at."""
    return max(200, number), 20_000


def _can_use_index(search: Search) -> bool:
    if search.query.exact or search.matching <= settings.EXACT_ROWS:
        return False
    return set(search.rank) <= indexed_spaces(search.release)


def _by_index(search: Search, most: int) -> _Page:
    """Candidates of every space, then exact scores over their union."""
    pool = candidates_of(search, max(4 * search.query.limit, CANDIDATES))
    rows = sql.exact(_within(search.where, pool, True), search.scoring, most)
    if len(rows) < min(search.query.limit, search.matching):
        return _exact(search, None, most)
    return _Page(rows, "index", len(pool), tuple(pool))


def _later_page(search: Search, place: paging.Cursor, most: int) -> _Page:
    """A page of a kept pool, and behind its end of all other matches."""
    pool = paging.pool_of(place, search.user)
    after = (place.score, place.image)
    rows: list[Row] = []
    if not place.beyond:
        rows = sql.exact(_within(search.where, pool, True), search.scoring, most, after)
    compared, beyond_from = len(pool), len(rows)
    if len(rows) < most:
        rest = _within(search.where, pool, False)
        after_rest = after if place.beyond else None
        rows += sql.exact(rest, search.scoring, most - len(rows), after_rest)
        compared = search.matching
    return _Page(rows, "index", compared, tuple(pool), beyond_from)


def _page(search: Search, place: paging.Cursor | None) -> _Page:
    most = search.query.limit + 1
    if not search.rank:
        return _by_classes(search, place, most)
    if place is not None and place.pool is not None:
        return _later_page(search, place, most)
    if place is None and _can_use_index(search):
        return _by_index(search, most)
    return _exact(search, place, most)


def _next(search: Search, page: _Page, place: paging.Cursor | None) -> str | None:
    """Cursor of the page behind this one, or None at the end."""
    limit = search.query.limit
    more = len(page.rows) > limit or (page.kind == "index" and place is None)
    if not more or not page.rows:
        return None
    last = page.rows[:limit][-1]
    pool = place.pool if place else None
    if page.pool and pool is None:
        pool = paging.keep_pool(search.user, search.release, list(page.pool))
    beyond = page.beyond_from is not None and min(limit, len(page.rows)) > page.beyond_from
    cursor = paging.Cursor(float(last[1]), last[0], pool, beyond)
    return cursor.to_text(search.query, search.release)


# --- the answer --------------------------------------------------------------------------------


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
    page = _page(search, place)
    cursor = _next(search, page, place)
    hits = _hits(page.rows[: query.limit], search.scoring.names or ["share"])
    hits = _with_regions(hits, search)
    return Answer(hits, _plan(search, page, started), cursor)


def _plan(search: Search, page: _Page, started: float) -> dict[str, Any]:
    return {
        "kind": page.kind,
        "matching": search.matching,
        "matching_is_lower_bound": search.matching > settings.EXACT_ROWS,
        "compared": page.compared,
        "release": search.release.name,
        "metric": search.query.metric,
        "rank": dict(search.rank) or {"share": 1.0},
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
