"""All SQL of searching: filters, exact scores, candidates from HNSW indexes, and those indexes.

pgvector's operators: `<=>` cosine distance, `<#>` negative inner product, `<->` Euclidean distance.
An index is used only for `ORDER BY column <operator> query LIMIT n` in just the indexed expression, so
candidates come from such queries and every other sorting happens outside a materialized CTE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from retrieval.models import Release
from retrieval.search.grammar import Query


@dataclass(frozen=True)
class Clause:
    """A piece of SQL with its values."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Space:
    """One vector space of a release.

    Attributes:
        expression: the indexed expression, of fixed width.
        operator: how its index orders; opclass: of that index.
    """

    name: str
    expression: str
    cast: str
    operator: str
    opclass: str

    def similarity(self, metric: str, unit: bool) -> str:
        """SQL of the similarity, larger is nearer, with one placeholder for the query vector.

        Cosine: 1 − cosine distance; of a painted layout, which is compared by what it paints only,
        the inner product. Euclidean: 1 − d/2, from 1 for equal to 0 for opposite unit vectors.
        """
        if metric == "euclidean" and unit:
            return f"1 - (d.{self.expression} <-> %s::{self.cast}) / 2"
        return f"-(d.{self.expression} <#> %s::{self.cast})"


def spaces_of(release: Release) -> dict[str, Space]:
    """The release's three spaces; all vectors stored have length 1."""
    classes, width = release.classes.count(), release.context_width
    half, sparse = "halfvec({})".format, "sparsevec({})".format
    return {
        "context": Space(
            "context", f"context::{half(width)}", half(width), "<=>", "halfvec_cosine_ops"
        ),
        "layout": Space(
            "layout",
            f"layout::{sparse(64 * classes)}",
            sparse(64 * classes),
            "<#>",
            "sparsevec_ip_ops",
        ),
        "composition": Space(
            "composition",
            f"composition::{half(classes)}",
            half(classes),
            "<=>",
            "halfvec_cosine_ops",
        ),
    }


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
    for clause in (*_class_filters(query, release), *_record_filters(query)):
        parts.append(clause.text)
        values += clause.values
    return Clause(" AND ".join(parts), tuple(values))


def _class_filters(query: Query, release: Release) -> list[Clause]:
    found = []
    rows = (
        "SELECT 1 FROM retrieval_classarea a WHERE a.image_id = d.image_id "
        f"AND a.release_id = {int(release.pk)} AND a.class_index = %s AND "
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


def _record_filters(query: Query) -> list[Clause]:
    where, image, found = query.where, [], []
    values: list[Any] = []
    for column, (low, high) in (("taken_at", where.taken), ("created_at", where.uploaded)):
        for operator, moment in ((">=", low), ("<=", high)):
            if moment is not None:
                image.append(f"i.{column} {operator} %s")
                values.append(moment)
    sign = {"landscape": ">", "portrait": "<", "square": "="}.get(where.orientation or "")
    if sign:
        image.append(f"i.width_px {sign} i.height_px")
    if image:
        found.append(
            Clause(
                "EXISTS (SELECT 1 FROM retrieval_image i WHERE i.id = d.image_id AND "
                + " AND ".join(image)
                + ")",
                tuple(values),
            )
        )
    tagged = (
        "SELECT 1 FROM retrieval_imagetag x JOIN retrieval_tag t ON t.id = x.tag_id "
        "WHERE x.image_id = d.image_id AND t.name "
    )
    found += [Clause(f"EXISTS ({tagged} = %s)", (name,)) for name in where.tags_all]
    if where.tags_any:
        found.append(Clause(f"EXISTS ({tagged} = ANY(%s))", (list(where.tags_any),)))
    if where.tags_none:
        found.append(Clause(f"NOT EXISTS ({tagged} = ANY(%s))", (list(where.tags_none),)))
    return found


# --- reading -----------------------------------------------------------------------------------


def _rows(text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


def count_up_to(where: Clause, most: int) -> int:
    """How many rows match, counted no further than `most`."""
    text = (
        f"SELECT count(*) FROM (SELECT 1 FROM retrieval_descriptor d WHERE {where.text} LIMIT %s) m"
    )
    return int(_rows(text, (*where.values, most))[0][0])


def _scored(vectors: Mapping[str, Clause], rank: Mapping[str, float]) -> tuple[str, str, list[Any]]:
    """SQL of the parts and of the weighted sum, and the parts' values."""
    parts = ", ".join(f"{clause.text} AS {name}" for name, clause in vectors.items())
    score = " + ".join(f"{float(rank[name])!r} * {name}" for name in vectors)
    return parts, score, [value for clause in vectors.values() for value in clause.values]


def exact(
    where: Clause, vectors: Mapping[str, Clause], rank: Mapping[str, float], limit: int
) -> list[tuple[Any, ...]]:
    """(image id, score, part, …) of the nearest among all rows that match; ties by id."""
    parts, score, values = _scored(vectors, rank)
    text = (
        f"WITH s AS MATERIALIZED (SELECT d.image_id, {parts} FROM retrieval_descriptor d "
        f"WHERE {where.text}) "
        f"SELECT image_id, {score} AS score, {', '.join(vectors)} FROM s "
        "ORDER BY score DESC, image_id LIMIT %s"
    )
    return _rows(text, (*values, *where.values, limit))


def candidates(where: Clause, space: Space, vector: str, number: int) -> list[Any]:
    """Image ids of about the nearest `number` rows that match, through the space's HNSW index.

    `SET LOCAL` holds for this transaction only. ef_search bounds what one scan returns, so it rises
    with the number asked for; iterative scans go on when the filter drops too many.
    """
    text = (
        f"SELECT d.image_id FROM retrieval_descriptor d WHERE {where.text} "
        f"ORDER BY (d.{space.expression}) {space.operator} %s::{space.cast} LIMIT %s"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute(f"SET LOCAL hnsw.ef_search = {min(1000, max(200, int(number)))}")
        # The planner prices HNSW by rows alone; it was asked for here because sorting is dearer.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(text, (*where.values, vector, number))
        return [row[0] for row in cursor.fetchall()]


def by_classes(
    where: Clause, release: Release, indices: Sequence[int], limit: int
) -> list[tuple[Any, ...]]:
    """(image id, summed share of the asked classes), largest first; ties by id."""
    text = (
        "WITH s AS MATERIALIZED (SELECT d.image_id, coalesce((SELECT sum(a.fraction) "
        "FROM retrieval_classarea a WHERE a.image_id = d.image_id "
        f"AND a.release_id = {int(release.pk)} AND a.class_index = ANY(%s)), 0) AS share "
        f"FROM retrieval_descriptor d WHERE {where.text}) "
        "SELECT image_id, share FROM s ORDER BY share DESC, image_id DESC LIMIT %s"
    )
    return _rows(text, (list(indices), *where.values, limit))


# --- indexes -----------------------------------------------------------------------------------


def index_name(space: Space, release: Release) -> str:
    return f"hnsw_{space.name}_release_{release.pk}"


def index_names(release: Release) -> set[str]:
    """Names of the release's indexes that exist and are valid."""
    wanted = [index_name(space, release) for space in spaces_of(release).values()]
    rows = _rows(
        "SELECT c.relname FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid "
        "WHERE x.indisvalid AND c.relname = ANY(%s)",
        (wanted,),
    )
    return {row[0] for row in rows}


def build_indexes(release: Release, memory_mb: int = 512) -> list[str]:
    """Build what is missing, without keeping writers waiting; outside a transaction only."""
    made = []
    present = index_names(release)
    for space in spaces_of(release).values():
        name = index_name(space, release)
        if name in present:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"SET maintenance_work_mem = '{int(memory_mb)}MB'")
            cursor.execute(f"DROP INDEX IF EXISTS {name}")  # an invalid one of a broken build
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON retrieval_descriptor "
                f"USING hnsw (({space.expression}) {space.opclass}) "
                f"WHERE release_id = {int(release.pk)}"
            )
            cursor.execute("RESET maintenance_work_mem")
        made.append(name)
    return made
