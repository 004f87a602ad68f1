"""What runs, waits and failed, over all collections that a user sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from retrieval.models import Analysis
from retrieval.permissions import editable_by, visible_to
from retrieval.queue import start_over

User = Any
ENDED_BADLY = ("rejected", "failed", "quarantined")


def jobs_for(user: User) -> QuerySet[Analysis]:
    """Analyses of visible pictures by releases in use, the user's query pictures included."""
    return Analysis.objects.filter(
        collection__in=visible_to(user), release__state__in=("active", "filling")
    )


@dataclass(frozen=True)
class Summary:
    """Numbers of the jobs page.

    Attributes:
        counts: analyses by state.
        per_minute: parsed in the last minute.
        oldest_wait_s: how long the oldest waiting one has waited, None without any.
    """

    counts: dict[str, int]
    per_minute: int
    oldest_wait_s: float | None

    @property
    def waiting(self) -> int:
        return self.counts["queued"] + self.counts["running"]

    @property
    def remaining_s(self) -> float | None:
        """Expected seconds until all is parsed; None while nothing was parsed lately."""
        return 60 * self.waiting / self.per_minute if self.per_minute and self.waiting else None


def summary_of(jobs: QuerySet[Analysis]) -> Summary:
    """All numbers in one query."""
    now = timezone.now()
    states = {state: Count("id", filter=Q(state=state)) for state in Analysis.State.values}
    found = jobs.aggregate(
        **states,
        per_minute=Count("id", filter=Q(state="done", finished_at__gt=now - timedelta(minutes=1))),
        oldest=Min("queued_at", filter=Q(state="queued")),
    )
    oldest = found.pop("oldest")
    return Summary(
        per_minute=found.pop("per_minute"),
        oldest_wait_s=(now - oldest).total_seconds() if oldest else None,
        counts=found,
    )


def reasons_of(jobs: QuerySet[Analysis]) -> list[dict[str, Any]]:
    """Why analyses ended badly: {"error_code", "state", "n"}, most frequent first."""
    rows = jobs.filter(state__in=ENDED_BADLY).values("error_code", "state")
    return [dict(row) for row in rows.annotate(n=Count("id")).order_by("-n", "error_code")]


def retry(user: User, jobs: QuerySet[Analysis], ids: Iterable[int] | None = None) -> int:
    """Queue analyses that ended badly anew; how many. Only where the user may change pictures.

    Args:
        ids: some of `jobs`, or None for all of them.
    """
    again = jobs.filter(state__in=ENDED_BADLY, collection__in=editable_by(user))
    if ids is not None:
        again = again.filter(pk__in=list(ids))
    with transaction.atomic():
        return start_over(again)
