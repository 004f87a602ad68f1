"""Collections with members and sizes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from retrieval.models import Collection, Image, Membership


class MembershipInline(TabularInline):
    model = Membership
    autocomplete_fields = ("user",)
    extra = 0


@admin.register(Collection)
class CollectionAdmin(ModelAdmin):
    list_display = ("name", "owner", "visibility", "pictures", "people", "gallery", "created_at")
    list_select_related = ("owner",)
    list_filter = ("visibility",)
    list_per_page = 50
    search_fields = ("name", "owner__username")
    autocomplete_fields = ("owner",)
    inlines = (MembershipInline,)
    fields = ("name", "owner", "visibility", "kind", "bytes")
    readonly_fields = ("kind", "bytes")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collection]:
        # Counted for the rows of one page only: each an index scan of its own.
        def count_of(rows: Any) -> Coalesce:
            counted = rows.filter(collection=OuterRef("pk")).order_by().values("collection")
            numbers = counted.annotate(n=Count("pk")).values("n")
            return Coalesce(Subquery(numbers, output_field=IntegerField()), 0)

        return (
            super()
            .get_queryset(request)
            .filter(kind="normal")
            .annotate(n_images=count_of(Image.objects), n_people=count_of(Membership.objects))
        )

    @display(description=gettext_lazy("Pictures"))
    def pictures(self, found: Any) -> int:
        return int(found.n_images)

    @display(description=gettext_lazy("Members"))
    def people(self, found: Any) -> int:
        return int(found.n_people)

    @display(description=gettext_lazy("Page"))
    def gallery(self, found: Collection) -> SafeString:
        return format_html('<a href="{}">→</a>', reverse("collection", args=[found.pk]))

    @display(description=gettext_lazy("Originals"))
    def bytes(self, found: Collection) -> str:
        from django.db.models import Sum

        total = Image.objects.filter(collection=found).aggregate(n=Sum("size_bytes"))["n"]
        return filesizeformat(total or 0)
