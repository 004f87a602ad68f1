"""Counting what happens, by day."""

from __future__ import annotations

from datetime import date, timedelta

from django.db import connection
from django.utils import timezone

from retrieval.models import DailyCount

_ADD = """
INSERT INTO retrieval_dailycount (name, day, value) VALUES (%s, %s, 1)
    ON CONFLICT (name, day) DO UPDATE SET value = retrieval_dailycount.value + 1
"""


def count(name: str) -> None:
    """Add one to today's number."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, (name, timezone.localdate()))


def counts_since(name: str, days: int) -> dict[date, int]:
    """Numbers of the last `days` days that have any."""
    first = timezone.localdate() - timedelta(days=days - 1)
    rows = DailyCount.objects.filter(name=name, day__gte=first)
    return dict(rows.values_list("day", "value"))
