"""From claimed rows to results: decode threads → network → describe threads → one transaction."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, close_old_connections
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval import queue
from retrieval.ids import thumb_name
from retrieval.models import Release
from retrieval.releases import weights_of
from segmentation.decode import decode
from segmentation.errors import DeviceOutOfMemory, InputError, SegmentationError, WeightsError
from segmentation.jpeg import decode_on
from segmentation.predict import Parser, Prepared
from segmentation.stream import DevicePicture, Stream

log = logging.getLogger("paysage.worker")

_T = TypeVar("_T")
_TRANSIENT = (OperationalError, InterfaceError, OSError, SoftTimeLimitExceeded)
"""Faults of the database, the disk or the clock: the same picture may do well the next time."""
THUMB_SIDES_PX = (256, 1024)
_DRAFT_PX = 1024  # camera files are decoded no larger than thumbnails and network need
_WEBP_METHOD = 1  # 0 to 6; 4 takes three times as long for files 8 % smaller
_THREADS = 2
_TURN_S = 600.0
"""How long one task goes on claiming; then others of its queue have their turn."""


class OriginalMissing(Exception):
    """Raised when the stored file is gone."""


class OriginalCorrupt(Exception):
    """Raised when the stored file is not the one that was uploaded."""


@dataclass(frozen=True)
class Ready:
    """A decoded row: its network input and its thumbnails' storage names."""

    row: queue.Claimed
    prepared: Prepared
    thumbs: tuple[str, str]


@lru_cache(maxsize=2)
def _parser(weights: str, sha256: str) -> Parser:
    """Loaded weights; the digest is part of the key, as a fit changes them under their name."""
    parser = Parser.load(weights, settings.DEVICE, bf16=settings.BF16)
    if parser.manifest.weights_sha256 != sha256:  # vectors of two networks are not to be compared
        raise WeightsError(
            "The weights of this release are not those it was made from; put them back, or import "
            "what is there as another release."
        )
    return parser


@lru_cache(maxsize=2)
def _stream(weights: str, sha256: str) -> Stream:
    return Stream(_parser(weights, sha256))


def load_parser(release_id: int) -> Parser:
    """The network of a release; at most two are held.

    Raises:
        WeightsError: its weights are missing, or are others.
    """
    release = Release.objects.get(pk=release_id)
    return _parser(weights_of(release), release.weights_sha256)


def load_stream(release_id: int) -> Stream:
    """The same, for batch after batch."""
    release = Release.objects.get(pk=release_id)
    return _stream(weights_of(release), release.weights_sha256)


def read_original(row: queue.Claimed) -> bytes:
    """The uploaded bytes; OriginalMissing or OriginalCorrupt when they are not there any more."""
    try:
        with default_storage.open(row.original) as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise OriginalMissing("The stored original is gone; upload the picture again.") from error
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise OriginalCorrupt("The stored original was altered on the disk; upload it again.")
    return data


def write_thumbs(row: queue.Claimed, image: NDArray[np.uint8]) -> tuple[str, str]:
    """Store WebP thumbnails (never enlarged, without metadata); their storage names."""
    picture = Pillow.fromarray(image)
    names = []
    for side in sorted(THUMB_SIDES_PX, reverse=True):
        picture.thumbnail((side, side), Pillow.Resampling.BILINEAR, reducing_gap=2.0)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=80, method=_WEBP_METHOD)
        name = thumb_name(row.collection_id, row.image_id, side)
        if default_storage.exists(name):
            default_storage.delete(name)
        names.append(default_storage.save(name, ContentFile(buffer.getvalue())))
    return names[1], names[0]


def make_ready(row: queue.Claimed, parser: Parser) -> Ready:
    """Decode, write thumbnails, resize for the network; runs in a decode thread."""
    data = read_original(row)
    if parser.device.type == "cuda":
        image = decode_on(data, parser.device, draft_px=_DRAFT_PX)
    else:
        image = decode(data, draft_px=_DRAFT_PX)
    return Ready(row, parser.prepare(image), write_thumbs(row, image))


class Lease:
    """Keeps a claim alive from a thread of its own, until closed."""

    def __init__(self, token: uuid.UUID) -> None:
        self.token = token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(settings.LEASE_S / 3):
            try:
                close_old_connections()
                queue.heartbeat(self.token, settings.LEASE_S)
            except OperationalError as error:
                log.warning("heartbeat: %s", error)
        from django.db import connection

        connection.close()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)


class Batch:
    """One claim on its way through the stages."""

    def __init__(
        self, token: uuid.UUID, rows: list[queue.Claimed], pool: ThreadPoolExecutor
    ) -> None:
        self.token, self.rows, self.pool = token, rows, pool
        self.futures: list[tuple[queue.Claimed, Future[Ready]]] = []
        self.lease = Lease(token)
        try:
            parsers = self._parsers()
        except BaseException:
            self.abandon()
            raise
        self.futures = [
            (row, pool.submit(make_ready, row, parsers[row.release_id]))
            for row in rows
            if row.release_id in parsers
        ]

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died of it before, perhaps: then nothing else is to be at risk beside it."""
        return any(row.attempts > 1 for row in self.rows)

    def _parsers(self) -> dict[int, Parser]:
        """By release; rows of one that cannot be loaded end here, and the others go on."""
        found: dict[int, Parser] = {}
        for release_id in {row.release_id for row in self.rows}:
            try:
                found[release_id] = load_parser(release_id)
            except DeviceOutOfMemory:
                raise
            except SegmentationError as error:
                log.error("release %d: %s", release_id, error)
                why = f"The release's network cannot be loaded: {error}"
                for row in self.rows:
                    if row.release_id == release_id:
                        queue.finish(self.token, row, "failed", "weights_unusable", why[:500])
        return found

    def abandon(self) -> None:
        """Give all rows back, as if they had not been claimed."""
        try:
            self._give_back()
        finally:
            self.lease.close()

    def run(self) -> int:
        """Wait for the decoded pictures, parse them by size, record; how many were recorded.

        A fault that comes with these pictures (one that repeats, or memory) brings them back in
        halves until the one at fault is alone, and ends that one. Any other gives all back.

        Raises:
            OperationalError, OSError: database or disk, after everything was given back.
        """
        try:
            waiting: list[tuple[queue.Claimed, Future[queue.Found]]] = []
            for release_id, groups in self._buckets().items():
                waiting += self._parse(load_stream(release_id), groups)
            found = [self._result(row, future) for row, future in waiting]
            return queue.record(self.token, [one for one in found if one is not None])
        except (DeviceOutOfMemory, MemoryError) as error:
            self._halve("out_of_memory", str(error) or "There was not enough memory to parse it.")
            return 0
        except _TRANSIENT:
            self._give_back()
            raise
        except Exception as error:
            log.exception("a batch of %d", len(self.rows))
            self._halve("analysis_error", repr(error))
            return 0
        except BaseException:
            self._give_back()
            raise
        finally:
            self.lease.close()

    def _halve(self, code: str, detail: str) -> None:
        if len(self.rows) == 1:
            queue.finish(self.token, self.rows[0], "failed", code, detail[:500])
        else:
            log.warning("%s; %d pictures again in halves", detail, len(self.rows))
            queue.release(self.token, len(self.rows) // 2)

    def _give_back(self) -> None:
        for _, future in self.futures:
            future.cancel()
        try:
            queue.release(self.token)
        except OperationalError as error:
            log.warning("release: %s; the lease will run out", error)

    def _buckets(self) -> dict[int, list[list[Ready]]]:
        """By release, the decoded pictures in groups of one size."""
        groups: dict[tuple[int, tuple[int, int]], list[Ready]] = defaultdict(list)
        for row, future in self.futures:
            ready = self._result(row, future)
            if ready is not None:
                groups[row.release_id, ready.prepared.bucket].append(ready)
        found: dict[int, list[list[Ready]]] = defaultdict(list)
        for (release_id, _), ready_rows in groups.items():
            found[release_id].append(ready_rows)
        return found

    def _result(self, row: queue.Claimed, future: Future[_T]) -> _T | None:
        """What a thread made of the row; None when that ended it, for a reason of its own."""
        try:
            return future.result()
        except InputError as error:
            queue.finish(self.token, row, "rejected", error.code, str(error))
        except OriginalMissing as error:
            queue.finish(self.token, row, "failed", "original_missing", str(error))
        except OriginalCorrupt as error:
            queue.finish(self.token, row, "failed", "original_corrupt", str(error))
        except (DeviceOutOfMemory, MemoryError, *_TRANSIENT):
            raise  # not the picture's fault
        except Exception as error:
            log.exception("parsing %s", row.image_id)
            queue.finish(self.token, row, "failed", "analysis_error", repr(error)[:500])
        return None

    def _parse(
        self, stream: Stream, groups: list[list[Ready]]
    ) -> list[tuple[queue.Claimed, Future[queue.Found]]]:
        palette = stream.parser.manifest.palette

        def found(one: Ready, picture: DevicePicture) -> queue.Found:
            description = picture.describe()
            return queue.Found(one.row, description, description.mask_png(palette), one.thumbs)

        parsed = stream([one.prepared for one in ready] for ready in groups)
        return [
            (one.row, self.pool.submit(found, one, picture))
            for ready, pictures in zip(groups, parsed, strict=True)
            for one, picture in zip(ready, pictures, strict=True)
        ]


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM sets: the batch at hand is finished, no other is claimed."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)


def drain(name: str) -> int:
    """Claim and parse until the queue is empty or the turn is over; how many pictures were recorded.

    The next claim's pictures are decoded while the network works on the present ones; never more
    than two claims are in memory, and only one where a picture of it was in a crash before.
    """
    worker = f"{name}@{socket.gethostname()}:{os.getpid()}"
    total, over = 0, time.monotonic() + _TURN_S
    with _told_to_stop() as stop, ThreadPoolExecutor(_THREADS) as pool:

        def next_batch(present: Batch | None = None) -> Batch | None:
            if stop.is_set() or time.monotonic() > over:
                return None
            if present is not None and present.is_suspect:
                return None
            token, rows = queue.claim(
                name, settings.BATCH, worker, settings.LEASE_S, beside=present is not None
            )
            return Batch(token, rows, pool) if rows else None

        batch = next_batch()
        while batch is not None:
            try:
                following = next_batch(batch)
            except BaseException:
                batch.abandon()
                raise
            try:
                total += batch.run()
            except BaseException:
                if following is not None:
                    following.abandon()
                raise
            batch = following or next_batch()
    return total
