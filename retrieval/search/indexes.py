"""HNSW indexes: one for each space of a release, built and dropped while searches and writes go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection

from retrieval.models import Release
from retrieval.search.spaces import Space, spaces_of

_LOCK = 7_310_001
"""Key of the advisory lock of whoever builds or drops indexes."""
_TRY_S = 0.25


def _rows(text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


@contextmanager
def alone(wait: bool = True) -> Iterator[bool]:
    """Be the only one that builds or drops indexes; whether that is so, which without `wait` may not be.

    The lock is the session's, as nothing CONCURRENTLY runs in a transaction. It is asked for again and
    again: a statement that waited for it would keep a snapshot, and the holder's CREATE INDEX
    CONCURRENTLY waits for all older snapshots, so each would wait for the other.
    """
    while not (held := _rows("SELECT pg_try_advisory_lock(%s)", (_LOCK,))[0][0]) and wait:
        time.sleep(_TRY_S)
    try:
        yield held
    finally:
        if held:
            _rows("SELECT pg_advisory_unlock(%s)", (_LOCK,))


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


def indexed_spaces(release: Release) -> set[str]:
    """Names of the spaces whose index is there."""
    present = index_names(release)
    return {s.name for s in spaces_of(release).values() if index_name(s, release) in present}


def index_sizes(release: Release) -> dict[str, int]:
    """Bytes of each index that is there, by the name of its space."""
    present = index_names(release)
    return {
        space.name: int(_rows("SELECT pg_relation_size(%s::regclass)", (name,))[0][0])
        for space in spaces_of(release).values()
        if (name := index_name(space, release)) in present
    }


def build_index(space: Space, release: Release, memory_mb: int, workers: int) -> None:
    """Build one index with `workers` helpers, without keeping writers or searches waiting.

    Outside a transaction only, and `alone`: what another is building looks broken from here. HNSW is
    built fast while it fits `maintenance_work_mem`: about rows × bytes of an element × 1.3.
    """
    name = index_name(space, release)
    condition = f" AND {space.condition}" if space.condition else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SET maintenance_work_mem = '{int(memory_mb)}MB'")
        cursor.execute(f"SET max_parallel_maintenance_workers = {int(workers)}")
        # An invalid one of a broken build; a plain DROP would queue all searches behind itself.
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        try:
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON {space.table} "
                f"USING hnsw (({space.indexed.format('')}) {space.opclass}) "
                f"WITH (m = {space.m}, ef_construction = {space.ef_construction}) "
                f"WHERE release_id = {int(release.pk)}{condition}"
            )
        finally:
            cursor.execute("RESET maintenance_work_mem")
            cursor.execute("RESET max_parallel_maintenance_workers")


def build_indexes(release: Release, memory_mb: int = 512, workers: int = 2) -> list[str]:
    """Build what is missing or broken, once nobody else does; the names of what was built."""
    made = []
    with alone():
        present = index_names(release)  # read only now: somebody else may have built them
        for space in spaces_of(release).values():
            name = index_name(space, release)
            if name not in present:
                build_index(space, release, memory_mb, workers)
                made.append(name)
    return made


def drop_indexes(release: Release) -> None:
    """Drop the release's indexes, broken ones too, while searches of other releases go on."""
    with alone(), connection.cursor() as cursor:
        for space in spaces_of(release).values():
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index_name(space, release)}")


_PROGRESS = """
SELECT c.relname, p.phase, p.tuples_done, greatest(p.tuples_total, t.reltuples::bigint, 0)
  FROM pg_stat_progress_create_index p
  JOIN pg_class c ON c.oid = p.index_relid
  JOIN pg_class t ON t.oid = p.relid
 WHERE c.relname LIKE 'hnsw%%' AND p.datname = current_database()
"""


def build_progress() -> list[dict[str, Any]]:
    """Indexes being built at this moment: {"index", "phase", "done", "total"} rows of the table."""
    names = ("index", "phase", "done", "total")
    return [dict(zip(names, row, strict=True)) for row in _rows(_PROGRESS, ())]
