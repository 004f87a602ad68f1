"""What all admin tables share: counting without reading everything, no rows that the web process made."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

COUNTED_EXACTLY = 10_000


def row_estimate(rows: QuerySet[Any]) -> int:
    """How many rows PostgreSQL's planner expects; reads statistics, not rows."""
    sql, values = rows.order_by().values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        plan = cursor.fetchone()[0]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


def bounded_count(rows: QuerySet[Any]) -> int:
    """Exact up to `COUNTED_EXACTLY`, from there on an estimate: no COUNT over everything."""
    counted = rows.order_by().values("pk")[: COUNTED_EXACTLY + 1].count()
    return counted if counted <= COUNTED_EXACTLY else max(counted, row_estimate(rows))


class BoundedPaginator(Paginator):
    """Pages of a table whose rows are not all counted."""

    @cached_property
    def count(self) -> int:
        """Number of rows as `bounded_count`."""
        return bounded_count(self.object_list)  # type: ignore[arg-type]


class LargeTableAdmin(ModelAdmin):
    """For tables that grow with images."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    show_facets = 0  # type: ignore[assignment]  # facets count every row for every choice
    list_filter_submit = True


class FoundAdmin(LargeTableAdmin):
    """For what workers write: to be looked at, not edited."""

    exclude = ("png", "vector", "composition", "layout", "context")
    list_display = ("id", "image", "release")
    list_select_related = ("image", "release")
    raw_id_fields = ("image", "collection")
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
