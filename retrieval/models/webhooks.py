"""Telling other programs what became of a picture: where to, and what is still to be told."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from retrieval.ids import new_id
from retrieval.models.collections import Collection


class Webhook(models.Model):
    """An address that hears of a collection's analyses.

    Attributes:
        user: who made it; it falls silent once they may not manage the collection any more.
        secret: signs what is sent, so it is kept as it is; shown once.
        events: of "analysis.done" and "analysis.failed".
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    secret = models.CharField(max_length=80)
    events = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One thing to be told; written in the transaction that makes it true.

    Attributes:
        attempts: tries that were begun.
        next_try_at: when it may be tried (again); while it is being tried, when that is given up.
        delivered_at, given_up_at: how it ended; both None while it goes on.
        status: what the other side last answered, None without an answer.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    body = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("next_try_at",),
                condition=Q(delivered_at=None, given_up_at=None),
                name="delivery_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.id}"
