"""Cursors: places in an order that neither repeats nor skips, whichever way the page was found.

An exact answer is ordered by score and id, so a place in it is the last row's score and id. An answer
through an index ranks a pool of candidates: its later pages must rank the same pool, then go on with
all other matches. So the pool is kept for an hour, and the cursor names it.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from retrieval.errors import QueryInvalid
from retrieval.models import Release, ResultPool
from retrieval.search.grammar import Query

POOL_KEPT = timedelta(hours=1)
_NO_POOL = uuid.UUID(int=0)
_FORMAT = struct.Struct("!8s?d16s16s")


@dataclass(frozen=True)
class Cursor:
    """Where the next page starts.

    Attributes:
        score, image: of the last row shown.
        pool: id of the kept pool, or None for an exact answer.
        beyond: whether the pool is used up, and the place is among all other matches.
    """

    score: float
    image: uuid.UUID
    pool: uuid.UUID | None = None
    beyond: bool = False

    def to_text(self, query: Query, release: Release) -> str:
        """Letters that fit an address."""
        packed = _FORMAT.pack(
            query.fingerprint(release),
            self.beyond,
            self.score,
            self.image.bytes,
            (self.pool or _NO_POOL).bytes,
        )
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read(query: Query, release: Release) -> Cursor | None:
    """The query's cursor; QueryInvalid when it is of another query or no cursor at all."""
    if query.cursor is None:
        return None
    try:
        data = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        fingerprint, beyond, score, image, pool = _FORMAT.unpack(data)
    except (ValueError, binascii.Error, struct.error) as error:
        raise QueryInvalid("This is no cursor that a page gave.", field="cursor") from error
    if fingerprint != query.fingerprint(release):
        raise QueryInvalid(
            "This cursor belongs to another query; leave it out to start anew.", field="cursor"
        )
    kept = uuid.UUID(bytes=pool)
    return Cursor(score, uuid.UUID(bytes=image), None if kept == _NO_POOL else kept, beyond)


def keep_pool(user: Any, release: Release, images: list[uuid.UUID]) -> uuid.UUID:
    """Store the candidates of an answer for its later pages."""
    return ResultPool.objects.create(owner=user, release=release, images=images).pk


def pool_of(cursor: Cursor, user: Any) -> list[uuid.UUID]:
    """Candidates kept for the cursor; QueryInvalid when their time is over."""
    kept = ResultPool.objects.filter(
        pk=cursor.pool or _NO_POOL, owner=user, created_at__gt=timezone.now() - POOL_KEPT
    ).first()
    if kept is None:
        raise QueryInvalid("This cursor's time is over; search again.", field="cursor")
    return list(kept.images)


def drop_old_pools() -> int:
    """Delete pools whose time is over; how many."""
    old = timezone.now() - POOL_KEPT
    return ResultPool.objects.filter(created_at__lt=old).delete()[0]
