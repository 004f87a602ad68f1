"""All SQL of searching: filters, exact scores, and candidates from HNSW indexes.

An index is used only for `ORDER BY column <operator> query LIMIT n` in just the indexed expression, so
candidates come from such queries and every other sorting happens outside a materialized CTE.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from retrieval.models import Release
from retrieval.search.grammar import Query
from retrieval.search.indexes import build_indexes, index_name, index_names
from retrieval.search.spaces import Space, spaces_of

__all__ = ["Clause", "Scoring", "build_indexes", "index_name", "index_names", "spaces_of"]

Row = tuple[Any, ...]
MAX_SCAN = 40_000
"""Most rows that an iterative scan looks at for matches of a filter."""
Place = tuple[float, Any]
"""(score, image id) of a hit: what the next page starts behind."""


@dataclass(frozen=True)
class Clause:
    """A piece of SQL with its values."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Scoring:
    """How a row of `retrieval_descriptor d` is scored: SQL of each similarity, and its weight."""

    parts: dict[str, Clause]
    weights: dict[str, float]

    @property
    def names(self) -> list[str]:
        return list(self.parts)

    @property
    def columns(self) -> Clause:
        text = ", ".join(f"{clause.text} AS {name}" for name, clause in self.parts.items())
        return Clause(text, tuple(v for clause in self.parts.values() for v in clause.values))

    @property
    def total(self) -> str:
        return " + ".join(f"{float(self.weights[name])!r} * {name}" for name in self.parts)


# --- filters -----------------------------------------------------------------------------------


def filters(
    query: Query, release: Release, collections: Sequence[int], hidden: Sequence[Any]
) -> Clause:
    """WHERE over `retrieval_descriptor d`: what the user may see, and what the query asks for.

    The release's number is written out, not bound: a partial index is matched by its constant.
    """
    parts = [f"d.release_id = {int(release.pk)}", "d.collection_id = ANY(%s)"]
    values: list[Any] = [list(collections)]
    if hidden:
        parts.append("d.image_id <> ALL(%s)")
        values.append(list(hidden))
    for clause in (
        *_class_filters(query, release),
        *_region_filters(query, release),
        *_image_filters(query),
        *_tag_filters(query),
    ):
        parts.append(clause.text)
        values += clause.values
    return Clause(" AND ".join(parts), tuple(values))


def _class_filters(query: Query, release: Release) -> list[Clause]:
    found = []
    rows = (
        "SELECT 1 FROM retrieval_classarea a WHERE a.image_id = d.image_id "
        f"AND a.release_id = {int(release.pk)} AND a.class_index = %s AND"
    )
    for asked in query.classes:
        if asked.min > 0:
            found.append(
                Clause(
                    f"EXISTS ({rows} a.fraction BETWEEN %s AND %s)",
                    (asked.index, asked.min, asked.max),
                )
            )
        elif asked.max < 1:  # classes that do not occur have no row
            found.append(Clause(f"NOT EXISTS ({rows} a.fraction > %s)", (asked.index, asked.max)))
    return found


def _region_filters(query: Query, release: Release) -> list[Clause]:
    """A segment like the example's that must be of a class: pictures without such are no hits."""
    wanted = {e.class_index for e in query.like if e.class_index is not None}
    text = (
        "EXISTS (SELECT 1 FROM retrieval_region r WHERE r.image_id = d.image_id "
        f"AND r.release_id = {int(release.pk)} AND r.class_index = %s)"
    )
    return [Clause(text, (index,)) for index in sorted(wanted)]


def _image_filters(query: Query) -> list[Clause]:
    where, image, values = query.where, [], []
    for column, (low, high) in (("taken_at", where.taken), ("created_at", where.uploaded)):
        for operator, moment in ((">=", low), ("<=", high)):
            if moment is not None:
                image.append(f"i.{column} {operator} %s")
                values.append(moment)
    sign = {"landscape": ">", "portrait": "<", "square": "="}.get(where.orientation or "")
    if sign:
        image.append(f"i.width_px {sign} i.height_px")
    found = []
    if image:
        text = "EXISTS (SELECT 1 FROM retrieval_image i WHERE i.id = d.image_id AND "
        found.append(Clause(text + " AND ".join(image) + ")", tuple(values)))
    # When a picture was parsed first, by whatever release: a new release makes nothing new.
    parsed = (
        "EXISTS (SELECT 1 FROM retrieval_analysis y WHERE y.image_id = d.image_id "
        "AND y.state = 'done' AND y.finished_at {} %s)"
    )
    if where.parsed[0] is not None:
        found.append(Clause("NOT " + parsed.format("<="), (where.parsed[0],)))
    if where.parsed[1] is not None:
        found.append(Clause(parsed.format("<="), (where.parsed[1],)))
    return found


def _tag_filters(query: Query) -> list[Clause]:
    where = query.where
    tagged = (
        "SELECT 1 FROM retrieval_imagetag x JOIN retrieval_tag t ON t.id = x.tag_id "
        "WHERE x.image_id = d.image_id AND t.name"
    )
    found = [Clause(f"EXISTS ({tagged} = %s)", (name,)) for name in where.tags_all]
    if where.tags_any:
        found.append(Clause(f"EXISTS ({tagged} = ANY(%s))", (list(where.tags_any),)))
    if where.tags_none:
        found.append(Clause(f"NOT EXISTS ({tagged} = ANY(%s))", (list(where.tags_none),)))
    return found


# --- reading -----------------------------------------------------------------------------------


def rows_of(text: str, values: Sequence[Any] = ()) -> list[Row]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


def count_up_to(where: Clause, most: int) -> int:
    """How many rows match, counted no further than `most`."""
    text = (
        f"SELECT count(*) FROM (SELECT 1 FROM retrieval_descriptor d WHERE {where.text} LIMIT %s) m"
    )
    return int(rows_of(text, (*where.values, most))[0][0])


def estimate(where: Clause) -> int:
    """How many rows PostgreSQL's statistics expect to match; takes a millisecond at any size."""
    text = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM retrieval_descriptor d WHERE {where.text}"
    found = rows_of(text, where.values)[0][0]
    plan = json.loads(found) if isinstance(found, str) else found
    return int(plan[0]["Plan"]["Plan Rows"])


def count(where: Clause) -> int:
    """How many rows match."""
    text = f"SELECT count(*) FROM retrieval_descriptor d WHERE {where.text}"
    return int(rows_of(text, where.values)[0][0])


def _behind(after: Place | None) -> Clause:
    """Rows behind a place in the order score descending, newest first."""
    if after is None:
        return Clause("true")
    return Clause("(score, image_id) < (%s::float8, %s::uuid)", after)


Ranked = tuple[list[Row], int]
"""Rows of a page, and how many matched in all."""


def _ranked(
    scored: str, select: str, values: Sequence[Any], after: Place | None, limit: int
) -> Ranked:
    """A page of the scored rows `s`, sorted by score and id, beside the number of all of `s`.

    They are counted where they lie, in the same statement: beside scoring them that costs little, and
    the number is of just the rows that were compared. A page without rows gives it too.
    """
    behind = _behind(after)
    text = (
        f"WITH s AS MATERIALIZED ({scored}), t AS ({select}), p AS (SELECT * FROM t "
        f"WHERE {behind.text} ORDER BY score DESC, image_id DESC LIMIT %s) "
        "SELECT n.number, p.* FROM (SELECT count(*) AS number FROM s) n LEFT JOIN p ON true "
        "ORDER BY p.score DESC, p.image_id DESC"
    )
    rows = rows_of(text, (*values, *behind.values, limit))
    return [row[1:] for row in rows if row[1] is not None], int(rows[0][0])


def exact_counted(
    where: Clause,
    scoring: Scoring,
    limit: int,
    after: Place | None = None,
    at_most: int | None = None,
) -> Ranked:
    """(image id, score, part, …) of the nearest among all rows that match; ties newest first.

    Args:
        at_most: so many rows are compared, whichever; where that many match, the answer is for nothing.
    """
    columns = scoring.columns
    return _ranked(
        f"SELECT d.image_id, {columns.text} FROM retrieval_descriptor d WHERE {where.text} LIMIT %s",
        f"SELECT image_id, {scoring.total} AS score, {', '.join(scoring.names)} FROM s",
        (*columns.values, *where.values, at_most),
        after,
        limit,
    )


def exact(where: Clause, scoring: Scoring, limit: int, after: Place | None = None) -> list[Row]:
    """The rows of `exact_counted` alone."""
    return exact_counted(where, scoring, limit, after)[0]


def newest(where: Clause, limit: int, after: Place | None = None) -> list[Row]:
    """(image id, 0) of what matches, newest first: the index on image ids gives them at once."""
    behind = _behind(after)
    text = (
        f"SELECT image_id, score FROM (SELECT d.image_id, 0::float8 AS score "
        f"FROM retrieval_descriptor d WHERE {where.text}) s WHERE {behind.text} "
        "ORDER BY image_id DESC LIMIT %s"
    )
    return rows_of(text, (*where.values, *behind.values, limit))


def by_classes(
    where: Clause, release: Release, indices: Sequence[int], limit: int, after: Place | None = None
) -> Ranked:
    """(image id, summed share of the asked classes), largest first; ties newest first."""
    return _ranked(
        "SELECT d.image_id, coalesce((SELECT sum(a.fraction) "
        "FROM retrieval_classarea a WHERE a.image_id = d.image_id "
        f"AND a.release_id = {int(release.pk)} AND a.class_index = ANY(%s)), 0) AS score "
        f"FROM retrieval_descriptor d WHERE {where.text}",
        "SELECT image_id, score FROM s",
        (list(indices), *where.values),
        after,
        limit,
    )


# --- regions -----------------------------------------------------------------------------------


def _segments(release: Release, class_index: int | None) -> str:
    """WHERE over `retrieval_region r`: segments proper, of one class or of any."""
    wanted = f"r.class_index = {int(class_index)}" if class_index is not None else "true"
    return f"r.release_id = {int(release.pk)} AND r.class_index IS NOT NULL AND {wanted}"


def least_similarity(metric: str) -> int:
    """What a picture without such a segment has: the similarity of opposite vectors."""
    return 0 if metric == "euclidean" else -1


def best_region(
    space: Space, release: Release, vector: str, class_index: int | None, metric: str
) -> Clause:
    """SQL of the similarity of a picture's most similar segment; of none at all, the least there is."""
    text = (
        f"coalesce((SELECT max({space.similarity(metric, True)}) FROM retrieval_region r "
        f"WHERE r.image_id = d.image_id AND {_segments(release, class_index)}), {least_similarity(metric)})"
    )
    return Clause(text, (vector,))


def matched_regions(
    space: Space,
    release: Release,
    vector: str,
    class_index: int | None,
    images: Sequence[Any],
    metric: str = "cosine",
) -> list[Row]:
    """(image id, number, class index, area, box, similarity) of each picture's most similar segment."""
    text = (
        "SELECT DISTINCT ON (r.image_id) r.image_id, r.number, r.class_index, r.area, r.box, "
        f"{space.similarity(metric, True)} AS similarity FROM retrieval_region r "
        f"WHERE r.image_id = ANY(%s) AND {_segments(release, class_index)} "
        "ORDER BY r.image_id, similarity DESC, r.number"
    )
    return rows_of(text, (vector, list(images)))


# --- candidates --------------------------------------------------------------------------------


def candidates(
    where: Clause, space: Space, vector: str, number: int, max_scan: int = MAX_SCAN
) -> list[tuple[Any, float]]:
    """(image id, distance) of about the nearest `number` matching rows, through the space's HNSW index.

    Rows that the index leaves out are none of them: see `uniform_candidates`.
    """
    query = space.stand_in.format(f"%s::{space.cast}")
    indexed = f" AND d.{space.condition}" if space.condition else ""
    text = (
        f"SELECT d.image_id, ({space.indexed.format('d.')}) {space.operator} {query} AS distance "
        f"FROM retrieval_descriptor d WHERE {where.text}{indexed} ORDER BY distance LIMIT %s"
    )
    rows = _through_index(
        text, (vector, *where.values, number), max(number, space.ef_search), max_scan
    )
    return [(row[0], float(row[1])) for row in rows]


def uniform_candidates(where: Clause, classes: Sequence[int], number: int) -> list[Any]:
    """Image ids of `number` matching rows whose layout is one class everywhere, newest first in each.

    Args:
        classes: in this order, until there are enough.
    """
    text = (
        f"SELECT d.image_id FROM retrieval_descriptor d WHERE {where.text} "
        "AND d.uniform_class = %s ORDER BY d.image_id DESC LIMIT %s"
    )
    found: list[Any] = []
    for index in classes:
        if len(found) >= number:
            break
        found += [r[0] for r in rows_of(text, (*where.values, index, number - len(found)))]
    return found


def region_candidates(
    where: Clause,
    space: Space,
    release: Release,
    vector: str,
    class_index: int | None,
    number: int,
    max_scan: int = MAX_SCAN,
) -> list[Any]:
    """Image ids of about the nearest `number` segments whose pictures match."""
    query = space.stand_in.format(f"%s::{space.cast}")
    text = (
        f"SELECT r.image_id FROM retrieval_region r WHERE {_segments(release, class_index)} AND "
        "EXISTS (SELECT 1 FROM retrieval_descriptor d WHERE d.image_id = r.image_id "
        f"AND {where.text} OFFSET 0) ORDER BY ({space.indexed.format('r.')}) {space.operator} {query} LIMIT %s"
    )
    rows = _through_index(
        text, (*where.values, vector, number), max(number, space.ef_search), max_scan
    )
    return [row[0] for row in rows]


def _through_index(text: str, values: Sequence[Any], ef_search: int, max_scan: int) -> list[Row]:
    """Rows of a query that must go through an HNSW index.

    `SET LOCAL` holds for this transaction only. ef_search bounds what one scan returns; iterative
    scans go on, up to `max_scan` rows, when the filter drops too many.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # The planner prices HNSW by rows alone; it was asked for here because sorting is dearer.
        cursor.execute(
            "SET LOCAL hnsw.iterative_scan = relaxed_order; "
            f"SET LOCAL hnsw.ef_search = {min(1000, int(ef_search))}; "
            f"SET LOCAL hnsw.max_scan_tuples = {int(max_scan)}; "
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"
        )
        cursor.execute(text, values)
        return cursor.fetchall()
