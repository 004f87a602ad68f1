"""Analyses with retry, and what they found."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from retrieval.admin.base import FoundAdmin, LargeTableAdmin
from retrieval.admin.images import STATE_LABELS
from retrieval.models import (
    Analysis,
    ClassArea,
    Descriptor,
    Mask,
    Region,
)
from retrieval.queue import start_over


@admin.register(Analysis)
class AnalysisAdmin(LargeTableAdmin):
    """The queue, and why rows ended badly."""

    list_display = (
        "id",
        "image",
        "release",
        "shown_state",
        "queue",
        "attempts",
        "error_code",
        "error_detail",
        "finished_at",
    )
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("queue", ChoicesDropdownFilter),
        ("collection", AutocompleteSelectFilter),
        ("release", AutocompleteSelectFilter),
    )
    list_select_related = ("image", "release")
    raw_id_fields = ("image", "collection", "release")
    search_fields = ("=image__id", "=error_code")
    search_help_text = gettext_lazy("A picture's id or an error code")
    ordering = ("-pk",)
    actions = ("retry",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Analysis | None = None) -> bool:
        return False  # a row edited by hand could lose its lease; actions do what is meant

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("retrieval.change_analysis")

    @display(description=gettext_lazy("State"), label=STATE_LABELS)
    def shown_state(self, analysis: Analysis) -> str:
        return analysis.state

    @admin.action(description=gettext_lazy("Try again"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[Analysis]) -> None:
        ended = Analysis.objects.filter(
            pk__in=queryset.order_by().values("pk"), state__in=Analysis.FINAL
        )
        messages.success(request, _("%(n)d analyses are queued again.") % {"n": start_over(ended)})


for model in (Mask, Descriptor, Region, ClassArea):
    admin.site.register(model, FoundAdmin)
