"""Sheets: how one picture was parsed by one release, drawn stage by stage when somebody asks."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from retrieval.models.collections import Collection
from retrieval.models.images import Image
from retrieval.models.releases import Release


class Sheet(models.Model):
    """A request for the drawing; drawn again when it is gone, so nothing is lost with it.

    Attributes:
        taken_until: until when a worker may be drawing it; NULL or past: anybody may.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="sheets")
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    error_detail = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    taken_until = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("image", "release"), name="sheet_once"),
            models.CheckConstraint(
                condition=Q(state__in=("queued", "done", "failed")), name="sheet_state_known"
            ),
        )
        indexes = (
            models.Index(fields=("asked_at",), condition=Q(state="queued"), name="sheet_queued"),
        )

    def __str__(self) -> str:
        return f"{self.image_id} {self.state}"


class SheetStage(models.Model):
    """One stage of a sheet, as `segmentation.explain.Stage`; title and sentence are English originals."""

    sheet = models.ForeignKey(
        Sheet, on_delete=models.CASCADE, related_name="stages", db_index=False
    )
    number = models.PositiveSmallIntegerField()
    key = models.CharField(max_length=40)
    title = models.CharField(max_length=120)
    sentence = models.TextField()
    shape = models.CharField(max_length=60)
    png = models.BinaryField()

    class Meta:
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=("sheet", "key"), name="sheet_stage_once"),)

    def __str__(self) -> str:
        return f"{self.sheet_id} {self.key}"
