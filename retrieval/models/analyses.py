"""Analyses: the parsing of one image by one release, and the queue that workers claim from."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from retrieval.models.collections import Collection
from retrieval.models.images import Image
from retrieval.models.releases import Release


class Analysis(models.Model):
    """The row is the truth about a piece of work; messages only wake workers up.

    queued → running → done | rejected | failed; running → queued when a worker releases it or its
    lease is over, or → quarantined when that happened too often. `rejected` blames the picture,
    `failed` blames us, `quarantined` kills its worker. Final states go back to queued by a retry.

    Attributes:
        priority: higher first within a queue.
        attempts: claims that count; a release takes its own back.
        lease_token: shared by the rows of one claim; only its holder may write the result.
        rung_at: when a doorbell for this row was last handed to the broker.
        batch_limit: most rows that may be claimed together with this one; halved after a crash.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        REJECTED = "rejected", "rejected"
        FAILED = "failed", "failed"
        QUARANTINED = "quarantined", "quarantined"

    class Queue(models.TextChoices):
        BULK = "bulk", "bulk"
        QUERY = "query", "query"

    FINAL = (State.DONE, State.REJECTED, State.FAILED, State.QUARANTINED)

    image = models.ForeignKey(
        Image, on_delete=models.CASCADE, related_name="analyses", db_index=False
    )
    release = models.ForeignKey(
        Release, on_delete=models.PROTECT, related_name="analyses", db_index=False
    )
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="analyses", db_index=False
    )
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    queue = models.CharField(max_length=8, choices=Queue.choices, default=Queue.BULK)
    priority = models.SmallIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=120, blank=True)
    rung_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_detail = models.TextField(blank=True)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    batch_limit = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "analyses"
        constraints = (
            models.UniqueConstraint(fields=("image", "release"), name="analysis_once"),
            models.CheckConstraint(
                condition=Q(
                    state__in=("queued", "running", "done", "rejected", "failed", "quarantined")
                ),
                name="analysis_state_known",
            ),
            models.CheckConstraint(
                condition=Q(queue__in=("bulk", "query")), name="analysis_queue_known"
            ),
            models.CheckConstraint(
                condition=Q(state="running", lease_token__isnull=False, lease_until__isnull=False)
                | Q(~Q(state="running"), lease_token__isnull=True, lease_until__isnull=True),
                name="analysis_lease_while_running",
            ),
            models.CheckConstraint(
                condition=Q(batch_limit__isnull=True) | Q(batch_limit__gte=1),
                name="analysis_batch_limit_positive",
            ),
        )
        indexes = (
            models.Index(
                fields=("queue", "-priority", "queued_at", "id"),
                condition=Q(state="queued"),
                name="analysis_claim",
            ),
            models.Index(
                fields=("lease_until",), condition=Q(state="running"), name="analysis_lease"
            ),
            models.Index(
                fields=("lease_token",), condition=Q(state="running"), name="analysis_token"
            ),
            models.Index(fields=("collection", "state", "-queued_at"), name="analysis_jobs"),
            models.Index(fields=("release", "state"), name="analysis_release"),
            models.Index(
                fields=("collection", "finished_at"),
                condition=Q(state="done"),
                name="analysis_finished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.image_id} {self.state}"
