"""Answering a checked query: which rows to compare, how, and what to tell about it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings

from retrieval.models import Release
from retrieval.permissions import visible_to
from retrieval.search import paging, sql
from retrieval.search.grammar import Query
from retrieval.search.indexes import indexed_spaces
from retrieval.search.sql import Clause, Row, Scoring
from retrieval.search.vectors import Targets, Vector, as_text, nearest_uniform, targets_of

CANDIDATES = 200
"""Least number of candidates that each space gives when an index is used."""
SURELY_MORE = 2
"""Factor over the threshold from which an estimated number of matches is not counted."""


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

    @cached_property
    def spaces(self) -> dict[str, sql.Space]:
        return sql.spaces_of(self.release)

    @cached_property
    def scoring(self) -> Scoring:
        metric = self.query.metric
        parts = {
            name: Clause(
                self.spaces[name].similarity(metric, not self.query.cells), (as_text(name, vector),)
            )
            for name, vector in self.targets.vectors.items()
        }
        if self.targets.parts:
            parts["region"] = self._region_clause(self.spaces["region"])
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
class Page:
    """Rows of a page and one more, if there is one; how they were found.

    Attributes:
        compared: rows that were scored; none where a query only filters.
        matching: how many match; more: or even more than that.
    """

    rows: list[Row]
    kind: str
    compared: int
    matching: int
    more: bool = False
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
    """Look up what the query's examples are."""
    targets = targets_of(query, release, user) if query.has_vectors else Targets()
    used = [*targets.vectors, *(["region"] if targets.parts else [])]
    total = sum(query.rank[space] for space in used)
    rank = {space: query.rank[space] / total for space in used}
    return Search(query, user, release, where_of(query, user, release), targets, rank)


def _many() -> int:
    """So many matches that an index is worth it."""
    return int(settings.EXACT_ROWS) + 1


# --- the ways ----------------------------------------------------------------------------------


def _by_classes(search: Search, place: paging.Cursor | None, most: int) -> Page:
    indices = [asked.index for asked in search.query.classes if asked.min > 0]
    after = (place.score, place.image) if place else None
    if not indices:
        matching = sql.count_up_to(search.where, _many())
        rows = sql.newest(search.where, most, after)
        return Page(rows, "sql", 0, matching, matching >= _many())
    rows, matching = sql.by_classes(search.where, search.release, indices, most, after)
    return Page(rows, "sql", matching, matching)


def _exact(search: Search, place: paging.Cursor | None, most: int) -> Page:
    after = (place.score, place.image) if place else None
    rows, matching = sql.exact_counted(search.where, search.scoring, most, after)
    return Page(rows, "exact", matching, matching)


def _exact_if_few(search: Search, most: int) -> Page | None:
    """The first page, unless there are too many matches to compare them all.

    Where PostgreSQL expects twice too many, it is believed: to find out costs more than an
    answer from an index. Should that be wrong, the index comes back with too few candidates, and the
    exact way answers. Else so many are compared at most: to count them first would cost as much.
    """
    if sql.estimate(search.where) > SURELY_MORE * _many():
        return None
    rows, matching = sql.exact_counted(search.where, search.scoring, most, at_most=_many())
    return Page(rows, "exact", matching, matching) if matching < _many() else None


def within(where: Clause, images: Sequence[uuid.UUID], inside: bool) -> Clause:
    """Also among these pictures, or not among them."""
    test = "= ANY(%s)" if inside else "<> ALL(%s)"
    return Clause(f"{where.text} AND d.image_id {test}", (*where.values, list(images)))


def _nearest(search: Search, space: sql.Space, vector: Vector, number: int) -> list[uuid.UUID]:
    """About the nearest `number` in a space of whole pictures, or a few more."""
    rows = sql.candidates(search.where, space, as_text(space.name, vector), number)
    found = [image for image, _ in rows]
    if space.condition:
        # What the index leaves out, where that is as near as what the index gave.
        least = space.similar(max(far for _, far in rows)) if len(rows) >= number else 0.0
        classes = nearest_uniform(space.name, vector, least)
        found += sql.uniform_candidates(search.where, classes, number)
    return found


def candidates_of(search: Search, number: int, matching: int) -> tuple[list[uuid.UUID], bool]:
    """Union of about `number` nearest in each space in use, through the indexes.

    Also whether every space gave as many as asked, or as `matching` rows: if not, the filter lets too
    few through.
    """
    enough = True
    spaces, least = search.spaces, min(number, matching)
    union: dict[uuid.UUID, None] = {}
    for name, vector in search.targets.vectors.items():
        found = _nearest(search, spaces[name], vector, number)
        union |= dict.fromkeys(found)
        enough = enough and len(found) >= least
    for part in search.targets.parts:
        if part.share > 0:
            found = sql.region_candidates(
                search.where,
                spaces["region"],
                search.release,
                as_text("region", part.vector),
                part.example.class_index,
                number,
            )
            union |= dict.fromkeys(found)
            enough = enough and len(found) >= least
    return list(union), enough


def _can_use_index(search: Search) -> bool:
    return not search.query.exact and set(search.rank) <= indexed_spaces(search.release)


def _by_index(search: Search, most: int) -> Page:
    """Candidates of every space, then exact scores over their union."""
    pool, enough = candidates_of(search, max(4 * search.query.limit, CANDIDATES), _many())
    rows = sql.exact(within(search.where, pool, True), search.scoring, most) if enough else []
    if len(rows) < min(search.query.limit, _many()):
        return _exact(search, None, most)
    return Page(rows, "index", len(pool), _many(), True, tuple(pool))


def _later_page(search: Search, place: paging.Cursor, most: int) -> Page:
    """A page of a kept pool, and behind its end of all other matches."""
    pool = paging.pool_of(place, search.user)
    after = (place.score, place.image)
    inside = within(search.where, pool, True)
    rows: list[Row] = []
    if place.beyond:
        in_pool = sql.count(inside)
    else:
        rows, in_pool = sql.exact_counted(inside, search.scoring, most, after)
    compared, beyond_from, matching, all_counted = in_pool, len(rows), _many(), False
    if len(rows) < most:
        rest = within(search.where, pool, False)
        after_rest = after if place.beyond else None
        others, more = sql.exact_counted(rest, search.scoring, most - len(rows), after_rest)
        rows += others
        matching, all_counted = in_pool + more, True
        compared = more if place.beyond else matching
    return Page(rows, "index", compared, matching, not all_counted, tuple(pool), beyond_from)


def page_of(search: Search, place: paging.Cursor | None) -> Page:
    most = search.query.limit + 1
    if not search.rank:
        return _by_classes(search, place, most)
    if place is not None and place.pool is not None:
        return _later_page(search, place, most)
    if place is None and _can_use_index(search):
        return _exact_if_few(search, most) or _by_index(search, most)
    return _exact(search, place, most)


def next_cursor(search: Search, page: Page, place: paging.Cursor | None) -> str | None:
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
