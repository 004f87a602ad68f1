"""Asking for a sheet (how a picture was parsed), and the queue of those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from retrieval.doorbell import ring, ring_now
from retrieval.errors import StateConflict
from retrieval.models import Image, Sheet, SheetStage
from retrieval.selectors import analysis_of

MAX_ATTEMPTS = 3
TAKEN_S = 60
RING_AGAIN_S = 30

_TAKE = """
UPDATE retrieval_sheet SET taken_until = now() + make_interval(secs => %s), attempts = attempts + 1
 WHERE id = (SELECT id FROM retrieval_sheet
              WHERE state = 'queued' AND attempts < %s AND (taken_until IS NULL OR taken_until < now())
              ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id
"""


def ask(image: Image) -> Sheet:
    """The image's sheet under its active release, asked for when it is new or had failed.

    Raises:
        StateConflict: the picture is not parsed, so there is nothing to explain.
    """
    analysis = analysis_of(image)
    if analysis is None or analysis.state != "done":
        raise StateConflict("The picture is not parsed, so there is nothing to explain yet.")
    keys = {"image": image, "release": analysis.release}
    with transaction.atomic():
        sheet, anew = Sheet.objects.get_or_create(
            **keys, defaults={"collection_id": image.collection_id}
        )
        parsed_since = analysis.finished_at is not None and sheet.asked_at < analysis.finished_at
        if sheet.state == "failed" or (sheet.state == "done" and parsed_since):
            Sheet.objects.filter(pk=sheet.pk).update(
                state="queued",
                attempts=0,
                taken_until=None,
                error_detail="",
                asked_at=timezone.now(),
            )
            sheet.refresh_from_db()
            anew = True
        if anew:
            ring("query")
    return sheet


def take() -> Sheet | None:
    """The sheet that waits longest, kept from other workers for a minute."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_TAKE, (TAKEN_S, MAX_ATTEMPTS))
        row = cursor.fetchone()
    return Sheet.objects.select_related("image", "release").get(pk=row[0]) if row else None


@transaction.atomic
def record(sheet: Sheet, stages: Sequence[dict[str, Any]]) -> None:
    """Keep the drawn stages: dicts with key, title, sentence, shape and png (bytes)."""
    SheetStage.objects.filter(sheet=sheet).delete()
    SheetStage.objects.bulk_create(
        SheetStage(sheet=sheet, number=number, **stage) for number, stage in enumerate(stages)
    )
    Sheet.objects.filter(pk=sheet.pk).update(state="done", taken_until=None)


def fail(sheet: Sheet, detail: str) -> None:
    """End a sheet that cannot be drawn, with the reason that its page shows."""
    Sheet.objects.filter(pk=sheet.pk).update(
        state="failed", error_detail=detail[:500], taken_until=None
    )


def sweep() -> int:
    """Fail sheets whose drawing ended its worker too often, ring for those that wait; how many wait."""
    queued = Sheet.objects.filter(state="queued")
    now = timezone.now()
    queued.filter(attempts__gte=MAX_ATTEMPTS, taken_until__lt=now).update(
        state="failed", taken_until=None, error_detail="Drawing it ended its worker."
    )
    waiting = queued.filter(asked_at__lt=now - timedelta(seconds=RING_AGAIN_S)).count()
    if waiting:
        ring_now("query")
    return waiting
