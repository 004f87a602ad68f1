"""Searches that a user keeps."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from retrieval.models.collections import Collection


class SavedSearch(models.Model):
    """A named query, as JSON in the grammar of `retrieval.search`."""

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
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "saved searches"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("owner", "name"), name="saved_search_name_per_owner"),
        )

    def __str__(self) -> str:
        return self.name
