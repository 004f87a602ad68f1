"""A scratch database full of resampled pictures, for benchmarks of the indexes."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.models import Collection, Release
from retrieval.services import create_collection
from retrieval.starter import ensure_starter_release
from segmentation.describe import GRID, uniform_class_of
from workers.resample import Batch, Resampler

NAME = "paysage_benchmark"
_HEAD = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_END = struct.pack("!h", -1)


@contextmanager
def scratch_database() -> Iterator[None]:
    """Point Django at an empty database of its own while the block runs; dropped afterwards."""
    own = str(connection.settings_dict["NAME"])

    def recreate(create: bool) -> None:
        connection.close()
        connection.settings_dict["NAME"] = own
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
            if create:
                cursor.execute(f"CREATE DATABASE {NAME}")
        connection.close()

    recreate(True)
    connection.settings_dict["NAME"] = NAME
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        recreate(False)


def image_id(number: int) -> bytes:
    """The 16 bytes of a scratch image's id."""
    return number.to_bytes(16, "big")


def _row(fields: Iterable[bytes | None]) -> bytes:
    """A row of fields in binary; None is NULL."""
    fields = list(fields)
    return struct.pack("!h", len(fields)) + b"".join(
        struct.pack("!i", -1) if f is None else struct.pack("!i", len(f)) + f for f in fields
    )


def _small(number: int | None) -> bytes | None:
    return None if number is None else struct.pack("!h", number)


def _half(vector: Any) -> bytes:
    return struct.pack("!hh", len(vector), 0) + np.asarray(vector, ">f2").tobytes()


def _sparse(indices: Any, values: Any, width: int) -> bytes:
    return (
        struct.pack("!iii", width, len(indices), 0)
        + np.asarray(indices, ">i4").tobytes()
        + np.asarray(values, ">f4").tobytes()
    )


def _copy(table: str, columns: str, rows: Iterable[bytes]) -> None:
    """COPY … (FORMAT binary) of ready rows."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no foreign keys to look up
        raw: Any = cursor.cursor
        with raw.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)") as copy:
            copy.write(_HEAD)
            for row in rows:
                copy.write(row)
            copy.write(_END)
        cursor.execute("RESET session_replication_role")


_IMAGES = """
INSERT INTO retrieval_image (id, collection_id, sha256, size_bytes, width_px, height_px, format, title,
    taken_at, metadata, original, thumb_256, thumb_1024, created_at, rendered)
SELECT lpad(to_hex(n), 32, '0')::uuid, %s, lpad(to_hex(n), 64, '0'), 1, 640, 480, 'JPEG', '',
       timestamptz '2020-01-01' + make_interval(secs => n::bigint * 7919 %% %s), '{}', '', '', '',
       now(), true
  FROM generate_series(0, %s - 1) n
"""


class Scratch:
    """Fills the tables.

    Attributes:
        release, collection, user: what everything belongs to.
        width: of the layout vectors.
        contexts: (N, D) what was inserted, for comparison with searches outside of SQL.
    """

    def __init__(self, resampler: Resampler) -> None:
        self.resampler = resampler
        self.release: Release = ensure_starter_release()
        self.user: Any = get_user_model().objects.create_user("benchmark")
        self.collection: Collection = create_collection(self.user, "benchmark")
        self.width = 64 * resampler.classes
        self.contexts: NDArray[np.float16] = np.zeros((0, 0), np.float16)

    def fill(self, images: int, region_images: int) -> float:
        """Insert pictures, the first of them with regions; seconds it took."""
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(_IMAGES, (self.collection.pk, images, images))
            cursor.execute("RESET session_replication_role")
        place = 0
        self.contexts = np.zeros((images, self.release.context_width), np.float16)
        with tqdm(total=images, desc="filling", unit="image", mininterval=2) as bar:
            for batch in self.resampler.batches(images):
                self._write(batch, place, region_images)
                self.contexts[place : place + len(batch.context)] = batch.context
                place += len(batch.context)
                bar.update(len(batch.context))
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        return time.perf_counter() - started

    def _keys(self, number: int) -> tuple[bytes, bytes, bytes]:
        release, collection = (struct.pack("!q", o.pk) for o in (self.release, self.collection))
        return image_id(number), release, collection

    def _write(self, batch: Batch, first: int, region_images: int) -> None:
        numbers = range(first, first + len(batch.context))
        _copy(
            "retrieval_descriptor",
            "image_id, release_id, collection_id, composition, layout, context, context_norm, "
            "uniform_class",
            (
                _row(
                    (
                        *self._keys(number),
                        _half(batch.composition[i]),
                        _sparse(*batch.layout[i], self.width),
                        _half(batch.context[i]),
                        struct.pack("!d", batch.norms[i]),
                        _small(uniform_class_of(*batch.layout[i], self.width // GRID**2)),
                    )
                )
                for i, number in enumerate(numbers)
            ),
        )
        _copy(
            "retrieval_classarea",
            "image_id, release_id, collection_id, class_index, fraction",
            (
                _row((*self._keys(n), struct.pack("!h", c), struct.pack("!d", batch.areas[i, c])))
                for i, n in enumerate(numbers)
                for c in np.flatnonzero(batch.areas[i]).tolist()
            ),
        )
        if first < region_images:
            _copy(
                "retrieval_region",
                "image_id, release_id, collection_id, number, class_index, area, box, confidence, "
                "vector, norm",
                (
                    row
                    for i, n in enumerate(numbers)
                    if n < region_images
                    for row in self._regions(batch, i, n)
                ),
            )

    def _regions(self, batch: Batch, position: int, number: int) -> Iterator[bytes]:
        source = self.resampler.sources[int(batch.sources[position])]
        for place, (region, area) in enumerate(batch.regions[position]):
            index = int(source.region_class[region])
            if index < 0:
                continue
            others = self.resampler.by_class[index]
            one, two = self.resampler.rng.integers(0, len(others), 2)
            vector = source.rows[region] + (others[one] - others[two]) * 0.35
            norm = max(float(np.linalg.norm(vector)), 1e-6)
            yield _row(
                (
                    *self._keys(number),
                    struct.pack("!h", place),
                    struct.pack("!h", index),
                    struct.pack("!d", area),
                    b"\x01[0, 0, 1, 1]",
                    struct.pack("!d", 0.9),
                    _half(vector / norm),
                    struct.pack("!d", norm),
                )
            )
