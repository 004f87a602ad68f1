"""What is to be told, written in the transaction that makes it true."""

from __future__ import annotations

from collections.abc import Iterable

from retrieval.doorbell import ring
from retrieval.models import Analysis, Delivery, Webhook

EVENTS = ("analysis.done", "analysis.failed")


def announce(analyses: Iterable[int]) -> int:
    """Write a delivery for each webhook that wants to hear how these analyses ended; how many.

    Call it in the transaction that ends them. Costs one query where nobody listens.
    """
    ids = list(analyses)
    hooks: dict[int, list[Webhook]] = {}
    for hook in Webhook.objects.filter(collection__analyses__in=ids).distinct():
        hooks.setdefault(hook.collection_id, []).append(hook)
    if not hooks:
        return 0
    rows = Analysis.objects.filter(pk__in=ids, collection__in=hooks, release__state="active")
    made = []
    for row in rows.select_related("release"):
        event = "analysis.done" if row.state == "done" else "analysis.failed"
        body = _body(row, event)
        made += [
            Delivery(webhook=hook, event=event, body=body)
            for hook in hooks[row.collection_id]
            if event in hook.events
        ]
    Delivery.objects.bulk_create(made)
    if made:
        ring("hooks")
    return len(made)


def _body(row: Analysis, event: str) -> dict[str, object]:
    return {
        "event": event,
        "image": str(row.image_id),
        "collection": row.collection_id,
        "state": row.state,
        "error_code": row.error_code or None,
        "error_detail": row.error_detail or None,
        "release": row.release.name,
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }
