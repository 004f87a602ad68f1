"""Searches that a user keeps, and the pools that pages of an answer are cut from."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from retrieval.ids import new_id
from retrieval.models.collections import Collection
from retrieval.models.releases import Release


class SavedSearch(models.Model):
    """A named query, as JSON in the grammar of `retrieval.search`.

    Attributes:
        collection: where it is kept; the query itself may search elsewhere.
        shared: whether everybody who sees the collection may use it, each with the own rights.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="saved_searches",
        db_index=False,
    )
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, null=True, blank=True, related_name="saved_searches"
    )
    name = models.CharField(max_length=120)
    query = models.JSONField(default=dict)
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "saved searches"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("owner", "name"), name="saved_search_name_per_owner"),
            models.CheckConstraint(
                condition=Q(shared=False) | Q(collection__isnull=False),
                name="saved_search_shared_within",
            ),
        )

    def __str__(self) -> str:
        return self.name


class SavedSearchLook(models.Model):
    """When a user last looked at the answer of a saved search."""

    search = models.ForeignKey(
        SavedSearch, on_delete=models.CASCADE, related_name="looks", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="search_looks"
    )
    looked_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("search", "user"), name="saved_search_look_once"),
        )

    def __str__(self) -> str:
        return f"{self.search_id} by {self.user_id}"


class ResultPool(models.Model):
    """Candidates that an index gave for a query, kept so that later pages rank the same ones."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+")
    images = ArrayField(models.UUIDField())
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = (models.Index(fields=("created_at",), name="result_pool_age"),)

    def __str__(self) -> str:
        return f"{len(self.images)} images"
