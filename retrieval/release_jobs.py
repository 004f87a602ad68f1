"""The queue of tasks about releases: one at a time, taken with a lease, swept when their worker died."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from retrieval.doorbell import ring, ring_now
from retrieval.models import Release, ReleaseJob

MAX_ATTEMPTS = 2
LEASE_S = 60
RING_AGAIN_S = 30

# Two imports at once would only be in each other's way; so would a promotion during a fit.
_TAKE = """
UPDATE retrieval_releasejob
   SET taken_until = now() + make_interval(secs => %s), attempts = attempts + 1
 WHERE id = (SELECT id FROM retrieval_releasejob
              WHERE state = 'queued' AND attempts < %s AND (taken_until IS NULL OR taken_until < now())
                AND NOT EXISTS (SELECT 1 FROM retrieval_releasejob
                                 WHERE state = 'queued' AND taken_until >= now())
              ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id
"""


def ask(
    kind: str, user: User | None, release: Release | None = None, **parameters: Any
) -> ReleaseJob:
    """Queue a task; the caller has checked that the user may."""
    with transaction.atomic():
        job = ReleaseJob.objects.create(
            kind=kind, asked_by=user, release=release, parameters=parameters
        )
        ring("releases")
    return job


def take() -> ReleaseJob | None:
    """The task that waits longest, unless one is being worked on."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_TAKE, (LEASE_S, MAX_ATTEMPTS))
        row = cursor.fetchone()
    return ReleaseJob.objects.select_related("release").get(pk=row[0]) if row else None


def hold(job: ReleaseJob) -> None:
    """Keep the task for another lease; called while a long step says nothing."""
    until = timezone.now() + timedelta(seconds=LEASE_S)
    ReleaseJob.objects.filter(pk=job.pk, state="queued").update(taken_until=until)


def report(job: ReleaseJob, step: str, done: int, total: int | None) -> None:
    """Note how far the task is."""
    ReleaseJob.objects.filter(pk=job.pk).update(step=step[:200], done=done, total=total or 0)


def finish(job: ReleaseJob, result: dict[str, Any], sheet: bytes | None = None) -> None:
    """End a task well."""
    ReleaseJob.objects.filter(pk=job.pk).update(
        state="done", result=result, sheet=sheet, taken_until=None, finished_at=timezone.now()
    )


def fail(job: ReleaseJob, detail: str) -> None:
    """End a task with the reason that its row shows."""
    ReleaseJob.objects.filter(pk=job.pk).update(
        state="failed", error_detail=detail[:1000], taken_until=None, finished_at=timezone.now()
    )


def sweep() -> int:
    """Fail tasks that ended their worker, ring for those that wait; how many wait."""
    queued, now = ReleaseJob.objects.filter(state="queued"), timezone.now()
    queued.filter(attempts__gte=MAX_ATTEMPTS, taken_until__lt=now).update(
        state="failed", taken_until=None, finished_at=now, error_detail="It ended its worker twice."
    )
    lost = queued.filter(taken_until__lt=now)
    new = queued.filter(
        taken_until__isnull=True, asked_at__lt=now - timedelta(seconds=RING_AGAIN_S)
    )
    waiting = lost.count() + new.count()
    if waiting:
        ring_now("releases")
    return waiting
