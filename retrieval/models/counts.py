"""Small numbers kept by day."""

from __future__ import annotations

from django.db import models


class DailyCount(models.Model):
    """How often something happened on a day (UTC)."""

    day = models.DateField()
    name = models.CharField(max_length=40)
    value = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("name", "day"), name="daily_count_once"),)

    def __str__(self) -> str:
        return f"{self.name} {self.day}: {self.value}"
