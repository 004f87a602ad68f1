"""Users and roles, tokens, saved searches."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from retrieval.models import ApiToken, SavedSearch

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):
    pass


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    list_display = ("name", "user", "scope", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("user",)
    readonly_fields = ("digest",)
    autocomplete_fields = ("user",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a token's text is only known where it is made


@admin.register(SavedSearch)
class SavedSearchAdmin(ModelAdmin):
    list_display = ("name", "owner", "collection", "created_at")
    list_select_related = ("owner", "collection")
    autocomplete_fields = ("owner", "collection")
