"""The queue in the database: claim, heartbeat, record, finish, release, start over, sweep. All its SQL is here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from pgvector import HalfVector, SparseVector

from retrieval.doorbell import ring, ring_now
from retrieval.files import delete_after_commit
from retrieval.models import Analysis, ClassArea, Collection, Descriptor, Image, Mask, Region
from retrieval.webhooks.outbox import announce

MAX_ATTEMPTS = 3
RING_AGAIN_S = 30

# A row that crashed a batch may only be claimed with as few others as its batch_limit says, so rows
# are taken in order as long as the running count stays within every taken row's limit. A claim
# beside work at hand takes none that was ever in a crash: the work at hand would be under suspicion.
_CLAIM = """
WITH candidate AS (
    SELECT id, priority, queued_at, coalesce(batch_limit, 32767) AS most, attempts
      FROM retrieval_analysis
     WHERE state = 'queued' AND queue = %(queue)s
     ORDER BY priority DESC, queued_at, id
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT id, row_number() OVER place AS nth, min(most) OVER place AS most,
           max(attempts) OVER place AS attempts
      FROM candidate
    WINDOW place AS (ORDER BY priority DESC, queued_at, id)
)
UPDATE retrieval_analysis a
   SET state = 'running', attempts = a.attempts + 1, lease_token = %(token)s,
       lease_until = now() + make_interval(secs => %(lease_s)s),
       worker = %(worker)s, started_at = now(), error_code = '', error_detail = ''
  FROM counted c, retrieval_image i
 WHERE a.id = c.id AND c.nth <= c.most AND i.id = a.image_id
   AND (c.attempts = 0 OR NOT %(beside)s)
RETURNING a.id, a.image_id, a.release_id, a.collection_id, a.attempts, i.original, i.sha256
"""


@dataclass(frozen=True)
class Claimed:
    """One row of a claim, with what a worker needs of its image."""

    id: int
    image_id: uuid.UUID
    release_id: int
    collection_id: int
    attempts: int
    original: str
    sha256: str


@dataclass(frozen=True)
class Found:
    """What a worker found of one claimed row.

    Attributes:
        description: a `segmentation.describe.Description`.
        png: the mask as palette PNG.
        thumbs: storage names of the thumbnails of 256 and 1024 px.
    """

    row: Claimed
    description: Any
    png: bytes
    thumbs: tuple[str, str]


def claim(
    queue: str, limit: int, worker: str, lease_s: float, *, beside: bool = False
) -> tuple[uuid.UUID, list[Claimed]]:
    """Take up to `limit` queued rows; attempts and lease are committed before this returns.

    Args:
        queue: "bulk" or "query".
        limit: how many at most.
        worker: who takes them, for people to read.
        lease_s: seconds until they may be given to another, unless renewed.
        beside: the caller still works on another claim; none is taken that a worker died of, nor
            one that waits behind such a row.
    """
    token = uuid.uuid4()
    values: dict[str, Any] = {
        "queue": queue,
        "limit": limit,
        "token": token,
        "lease_s": lease_s,
        "worker": worker,
        "beside": beside,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        rows = [Claimed(*row) for row in cursor.fetchall()]
    return token, rows


def heartbeat(token: uuid.UUID, lease_s: float) -> int:
    """Extend the lease of all rows still held under `token`; how many there are."""
    until = timezone.now() + timedelta(seconds=lease_s)
    return Analysis.objects.filter(lease_token=token, state="running").update(lease_until=until)


_ENDED = {"lease_token": None, "lease_until": None}


def _vectors(found: Found) -> Descriptor:
    row, d = found.row, found.description
    layout = dict(zip(d.layout_indices.tolist(), d.layout_values.tolist(), strict=True))
    return Descriptor(
        image_id=row.image_id,
        release_id=row.release_id,
        collection_id=row.collection_id,
        composition=HalfVector(d.composition.tolist()),
        layout=SparseVector(layout, d.layout_width),
        context=HalfVector(d.context.tolist()),
        context_norm=max(d.context_norm, 1e-9),
        uniform_class=d.uniform_class,
    )


def _regions(found: Found) -> list[Region]:
    row = found.row
    keys = {
        "image_id": row.image_id,
        "release_id": row.release_id,
        "collection_id": row.collection_id,
    }
    return [
        Region(
            **keys,
            number=number,
            class_index=region.class_index,
            area=region.area,
            box=[round(float(v), 5) for v in region.box],
            confidence=region.confidence,
            vector=HalfVector(region.vector.tolist()),
            norm=region.norm,
        )
        for number, region in enumerate(found.description.regions)
    ]


def _areas(found: Found) -> list[ClassArea]:
    row, areas = found.row, found.description.areas
    return [
        ClassArea(
            image_id=row.image_id,
            release_id=row.release_id,
            collection_id=row.collection_id,
            class_index=int(index),
            fraction=float(areas[index]),
        )
        for index in np.flatnonzero(areas)
    ]


def _mask(found: Found) -> Mask:
    row, d = found.row, found.description
    return Mask(
        analysis_id=row.id,
        image_id=row.image_id,
        release_id=row.release_id,
        collection_id=row.collection_id,
        png=found.png,
        width_px=d.mask.shape[1],
        height_px=d.mask.shape[0],
        mean_confidence=d.confidence,
    )


@dataclass(frozen=True)
class _Stored:
    """What an image's row says at the moment of recording; it is locked until the commit."""

    collection_id: int
    thumbs: tuple[str | None, ...]


def _locked(batch: Sequence[Found]) -> dict[uuid.UUID, _Stored]:
    # Images before analyses, as whoever moves pictures locks them.
    rows = Image.objects.select_for_update().filter(id__in={f.row.image_id for f in batch})
    return {
        image.id: _Stored(image.collection_id, (image.thumb_256.name, image.thumb_1024.name))
        for image in rows.order_by("id").only("collection_id", "thumb_256", "thumb_1024")
    }


def record(token: uuid.UUID, batch: Sequence[Found]) -> int:
    """Write masks, vectors, regions, areas and `done` in one transaction; how many rows it wrote.

    Guarded by the lease: rows that were taken from this worker meanwhile are left out, so that
    exactly one result exists whatever was delivered twice. Pictures that were moved since the claim
    are recorded where they are now; of those that were deleted, the new thumbnails are deleted too.
    """
    with transaction.atomic():
        stored = _locked(batch)
        idle: list[str | None] = [
            n for f in batch if f.row.image_id not in stored for n in f.thumbs
        ]
        held = set(
            Analysis.objects.select_for_update()
            .filter(id__in=[f.row.id for f in batch], lease_token=token, state="running")
            .values_list("id", flat=True)
        )
        mine = [
            replace(f, row=replace(f.row, collection_id=stored[f.row.image_id].collection_id))
            for f in batch
            if f.row.id in held
        ]
        for f in mine:  # thumbnails that were made elsewhere, before the picture was moved
            idle += [n for n in stored[f.row.image_id].thumbs if n not in f.thumbs]
        delete_after_commit(idle)
        return _write(mine) if mine else 0


def _write(mine: list[Found]) -> int:
    for model in (Mask, Descriptor, Region, ClassArea):  # a repeated parse replaces the old one
        for release_id in {f.row.release_id for f in mine}:
            images = [f.row.image_id for f in mine if f.row.release_id == release_id]
            model.objects.filter(image_id__in=images, release_id=release_id).delete()
    Mask.objects.bulk_create(_mask(f) for f in mine)
    Descriptor.objects.bulk_create(_vectors(f) for f in mine)
    Region.objects.bulk_create([r for f in mine for r in _regions(f)])
    ClassArea.objects.bulk_create([a for f in mine for a in _areas(f)])
    Image.objects.bulk_update(
        [Image(id=f.row.image_id, thumb_256=f.thumbs[0], thumb_1024=f.thumbs[1]) for f in mine],
        ["thumb_256", "thumb_1024"],
    )
    # It turned out to be usable: the date that its rejection set does not stand. Queries keep theirs.
    Image.objects.filter(
        id__in=[f.row.image_id for f in mine],
        collection__kind=Collection.Kind.NORMAL,
    ).update(expires_at=None)
    ids = [f.row.id for f in mine]
    done = Analysis.objects.filter(id__in=ids).update(
        state="done", finished_at=timezone.now(), batch_limit=None, **_ENDED
    )
    announce(ids)
    return done


def finish(token: uuid.UUID, row: Claimed, state: str, code: str, detail: str) -> bool:
    """End a row as rejected or failed, for a reason a person understands; False when it was lost."""
    with transaction.atomic():
        if state == "rejected":  # images before analyses, as everywhere
            Image.objects.select_for_update().filter(id=row.image_id).exists()
        changed = Analysis.objects.filter(id=row.id, lease_token=token, state="running").update(
            state=state, error_code=code, error_detail=detail, finished_at=timezone.now(), **_ENDED
        )
        if changed and state == "rejected":
            kept = timezone.now() + timedelta(days=settings.REJECTED_KEPT_DAYS)
            parsed = Analysis.objects.filter(image=OuterRef("pk"), state="done")
            Image.objects.filter(~Exists(parsed), id=row.image_id, expires_at=None).update(
                expires_at=kept
            )
        if changed:
            announce([row.id])
    return bool(changed)


_RELEASE = """
UPDATE retrieval_analysis
   SET state = 'queued', attempts = greatest(attempts - 1, 0), lease_token = NULL,
       lease_until = NULL, rung_at = NULL, batch_limit = coalesce(%(limit)s, batch_limit)
 WHERE lease_token = %(token)s AND state = 'running'
"""


def release(token: uuid.UUID, batch_limit: int | None = None) -> int:
    """Give back what is still held, without counting the attempt: no worker died of it.

    With `batch_limit`, no more than so many of them are claimed together again.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"token": token, "limit": batch_limit})
        return cursor.rowcount


def waiting(queue: str) -> bool:
    """Whether rows of the queue wait to be claimed."""
    return Analysis.objects.filter(queue=queue, state="queued").exists()


def oldest_wait_s() -> int | None:
    """How many seconds the oldest queued row has waited; None without any."""
    oldest = Analysis.objects.filter(state="queued").order_by("queued_at").first()
    return round((timezone.now() - oldest.queued_at).total_seconds()) if oldest else None


def start_over(rows: QuerySet[Analysis]) -> int:
    """Queue analyses anew, as if never tried; how many. Rings once the transaction is committed."""
    queues = set(rows.values_list("queue", flat=True).distinct())
    count = rows.update(
        state="queued",
        attempts=0,
        error_code="",
        error_detail="",
        batch_limit=None,
        queued_at=timezone.now(),
        finished_at=None,
        rung_at=None,
    )
    for queue in queues:
        ring(queue)
    return count


# Half as many together after the first crash, alone after the second; only who was alone is blamed.
_EXPIRED = """
WITH expired AS (
    SELECT id, attempts, count(*) OVER (PARTITION BY lease_token) AS mates
      FROM retrieval_analysis WHERE state = 'running' AND lease_until < now()
), judged AS (
    SELECT id, attempts >= %(most)s AND mates = 1 AS guilty,
           CASE WHEN attempts > 1 THEN 1 ELSE greatest(1, mates / 2) END AS batch_limit
      FROM expired
)
UPDATE retrieval_analysis a
   SET state = CASE WHEN guilty THEN 'quarantined' ELSE 'queued' END,
       finished_at = CASE WHEN guilty THEN now() END,
       error_code = CASE WHEN guilty THEN 'worker_killed' ELSE '' END,
       error_detail = CASE WHEN guilty
           THEN 'Parsing this picture ended its worker ' || a.attempts || ' times.' ELSE '' END,
       batch_limit = j.batch_limit,
       lease_token = NULL, lease_until = NULL, rung_at = NULL
  FROM judged j WHERE a.id = j.id
RETURNING a.id, a.state
"""


@dataclass(frozen=True)
class Swept:
    """What a sweep did."""

    requeued: int
    quarantined: int
    rung: list[str]


def sweep() -> Swept:
    """Requeue rows whose lease is over, quarantine repeat offenders, ring for rows that wait.

    A batch that ended its worker comes back in halves, then one by one, so that of a poisoned
    picture and its mates only the poisoned one is quarantined.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_EXPIRED, {"most": MAX_ATTEMPTS})
        rows = cursor.fetchall()
        announce([pk for pk, state in rows if state == "quarantined"])
    states = [state for _, state in rows]
    stale = timezone.now() - timedelta(seconds=RING_AGAIN_S)
    waiting = Analysis.objects.filter(state="queued").exclude(rung_at__gt=stale)
    rung = []
    for queue in ("query", "bulk"):
        if waiting.filter(queue=queue).exists():
            ring_now(queue)
            waiting.filter(queue=queue).update(rung_at=timezone.now())
            rung.append(queue)
    return Swept(states.count("queued"), states.count("quarantined"), rung)
