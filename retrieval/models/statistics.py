"""What is measured of a collection as it grows: percentiles, recall, charts, duplicates, the map."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from retrieval.models.collections import Collection
from retrieval.models.images import Image
from retrieval.models.releases import Release
from retrieval.models.vectors import Found


class Statistic(models.Model):
    """One figure or table of a collection under a release; measured by a worker.

    Attributes:
        collection: None for all collections together.
        name: what was measured, see `Name`.
        images: how many descriptors there were; measured anew when that has changed enough.
        values: the figures.
        sample: numbers too many for JSON, little-endian float16.
    """

    class Name(models.TextChoices):
        PAIRS = "pairs", "similarities of random pairs of images"
        REGIONS = "regions", "best similarities of random regions in random images"
        RECALL = "recall", "recall of the indexes"
        CHARTS = "charts", "class areas and co-occurrence"
        DUPLICATES = "duplicates", "until when near-duplicates were looked for"
        MAP = "map", "the projection of the map"

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="statistics")
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, null=True, blank=True, related_name="statistics"
    )
    name = models.CharField(max_length=12, choices=Name.choices)
    images = models.PositiveIntegerField()
    values = models.JSONField(default=dict)
    sample = models.BinaryField(default=b"")
    measured_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("release", "collection", "name"),
                name="statistic_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(name__in=("pairs", "regions", "recall", "charts", "duplicates", "map")),
                name="statistic_name_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} of {self.collection_id}"


class NearDuplicate(models.Model):
    """Two images of a collection that look nearly the same.

    Attributes:
        first, second: the earlier and the later image.
        context, layout: their similarities, 0 to 1.
        state: `open` until a person says what it is; what was resolved is never opened again.
    """

    class State(models.TextChoices):
        OPEN = "open", "open"
        DUPLICATE = "duplicate", "the same picture"
        DIFFERENT = "different", "different pictures"

    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="near_duplicates", db_index=False
    )
    first = models.ForeignKey(
        Image, on_delete=models.CASCADE, related_name="duplicates_after", db_index=False
    )
    second = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="duplicates_before")
    context = models.FloatField()
    layout = models.FloatField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("first", "second"), name="near_duplicate_once"),
            models.CheckConstraint(
                condition=Q(first__lt=F("second")), name="near_duplicate_ordered"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("open", "duplicate", "different")),
                name="near_duplicate_state_known",
            ),
            models.CheckConstraint(
                condition=Q(state="open", resolved_at__isnull=True)
                | Q(~Q(state="open"), resolved_at__isnull=False),
                name="near_duplicate_resolved",
            ),
        )
        indexes = (
            models.Index(fields=("collection", "state", "-context"), name="near_duplicate_list"),
        )

    def __str__(self) -> str:
        return f"{self.first_id} {self.second_id} {self.state}"


class MapPoint(Found):
    """Where an image lies on the map of its collection; both coordinates from 0 to 1."""

    x = models.FloatField()
    y = models.FloatField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("image", "release"), name="map_point_once"),
            models.CheckConstraint(
                condition=Q(x__gte=0, x__lte=1, y__gte=0, y__lte=1), name="map_point_range"
            ),
        )
        indexes = (models.Index(fields=("collection", "release", "x"), name="map_point_place"),)
