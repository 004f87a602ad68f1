"""Model releases and their classes."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from retrieval.models import Release, SemanticClass


class ClassInline(TabularInline):
    model = SemanticClass
    fields = ("index", "name", "name_zh", "swatch")
    readonly_fields = ("index", "name", "swatch")
    extra = 0
    tab = True

    def has_add_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    @display(description=gettext_lazy("Colour"))
    def swatch(self, found: SemanticClass) -> SafeString:
        return format_html(
            '<span style="background:{}" class="inline-block w-6 h-4 rounded"></span>', found.colour
        )


@admin.register(Release)
class ReleaseAdmin(ModelAdmin):
    """To be looked at; `manage.py release` imports, fills and promotes."""

    list_display = ("name", "network", "label_set", "shown_state", "created_at")
    search_fields = ("name",)
    inlines = (ClassInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Release | None = None) -> list[str]:
        return [field.name for field in Release._meta.fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    @display(
        description=gettext_lazy("State"),
        label={"active": "success", "filling": "info", "retired": ""},
    )
    def shown_state(self, release: Release) -> str:
        return release.state
