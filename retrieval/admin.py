"""Plain admin for all tables; what workers write can be looked at, not edited."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from retrieval import models


@admin.register(models.Collection)
class CollectionAdmin(admin.ModelAdmin):
    list_display = ("name", "owner", "visibility", "kind", "created_at")
    list_filter = ("visibility", "kind")
    search_fields = ("name",)


@admin.register(models.Image)
class ImageAdmin(admin.ModelAdmin):
    list_display = ("id", "title", "collection", "width_px", "height_px", "created_at", "rendered")
    list_select_related = ("collection",)
    list_filter = ("rendered",)
    raw_id_fields = ("collection", "uploader")
    search_fields = ("=id", "title")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # pictures come in through uploads, which store the file with the row


@admin.register(models.Analysis)
class AnalysisAdmin(admin.ModelAdmin):
    list_display = (
        "id",
        "image",
        "release",
        "state",
        "queue",
        "attempts",
        "error_code",
        "finished_at",
    )
    list_filter = ("state", "queue")
    list_select_related = ("image", "release")
    raw_id_fields = ("image", "collection")
    search_fields = ("=image__id", "error_code")
    show_full_result_count = False


class ReadOnlyAdmin(admin.ModelAdmin):
    show_full_result_count = False
    exclude = ("png", "vector", "composition", "layout", "context")
    list_display = ("id", "image", "release")
    list_select_related = ("image", "release")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


for found in (models.Mask, models.Descriptor, models.Region, models.ClassArea):
    admin.site.register(found, ReadOnlyAdmin)


@admin.register(models.Release)
class ReleaseAdmin(admin.ModelAdmin):
    list_display = ("name", "network", "label_set", "state", "created_at")


@admin.register(models.ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    list_display = ("name", "user", "scope", "expires_at", "last_used_at", "revoked_at")
    readonly_fields = ("digest",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a token's text is only known where it is made


admin.site.register([models.Membership, models.Tag, models.SavedSearch, models.SemanticClass])
