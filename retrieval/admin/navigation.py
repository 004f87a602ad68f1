"""The admin's side bar: what belongs together stands together."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _


def _seen(permission: str, request: HttpRequest) -> bool:
    return request.user.has_perm(permission)


def _item(title: str, icon: str, model: str, app: str = "retrieval") -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app}_{model}_changelist"),
        "permission": partial(_seen, f"{app}.view_{model}"),
    }


def _photographs() -> list[dict[str, Any]]:
    return [
        _item(_("Collections"), "photo_library", "collection"),
        _item(_("Images"), "image", "image"),
        _item(_("Tags"), "sell", "tag"),
        _item(_("Saved searches"), "saved_search", "savedsearch"),
    ]


def _findings() -> list[dict[str, Any]]:
    return [
        _item(_("Analyses"), "analytics", "analysis"),
        _item(_("Masks"), "texture", "mask"),
        _item(_("Regions"), "select_all", "region"),
        _item(_("Class areas"), "pie_chart", "classarea"),
        _item(_("Descriptors"), "polyline", "descriptor"),
    ]


def _models() -> list[dict[str, Any]]:
    return [
        _item(_("Releases"), "deployed_code", "release"),
        _item(_("Release jobs"), "pending_actions", "releasejob"),
    ]


def _people() -> list[dict[str, Any]]:
    return [
        _item(_("Users"), "person", "user", "auth"),
        _item(_("Groups"), "group", "group", "auth"),
        _item(_("Tokens"), "key", "apitoken"),
    ]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of links; those that the reader may not see are left out by the theme."""
    home = {"title": _("Dashboard"), "icon": "dashboard", "link": reverse("admin:index")}
    return [
        {"items": [home]},
        {"title": _("Photographs"), "separator": True, "items": _photographs()},
        {"title": _("Models"), "separator": True, "items": _models()},
        {"title": _("What was found"), "separator": True, "items": _findings()},
        {"title": _("People"), "separator": True, "items": _people()},
    ]
