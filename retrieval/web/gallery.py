"""A collection's pages: gallery, live states, actions on a selection, simple uploads."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from retrieval import bulk, selectors, services
from retrieval.download import archive
from retrieval.errors import FieldInvalid, FileRequired
from retrieval.gallery import SORTS, Filter, add_states, filtered, gallery_page, parse_filter
from retrieval.models import Analysis, Collection, Image
from retrieval.permissions import can_edit, editable_by
from retrieval.upload import active_release
from retrieval.web.page import page

PAGE = 60
MOST_LIVE = 200
MOST_DOWNLOADED = 2000
FIELDS = ("text", "tag", "class", "min", "max", "state", "since", "until", "sort")


def _address(request: HttpRequest, **changed: str | None) -> str:
    """The query string of the page with some fields changed or taken out (None)."""
    values = {k: v for k, v in request.GET.items() if k in (*FIELDS, "after") and v}
    values |= {k: v for k, v in changed.items() if v}
    return urlencode({k: v for k, v in values.items() if changed.get(k, v) is not None})


def _chips(request: HttpRequest, asked: Filter) -> list[dict[str, str]]:
    """What is filtered by, each with the address that leaves it out."""
    found = []
    shown = {"text": asked.text, "tag": ", ".join(asked.tags), "state": asked.state}
    if asked.class_name:
        shown["class"] = f"{asked.class_name} {100 * asked.low:g}–{100 * asked.high:g} %"
    shown |= {key: request.GET.get(key, "") for key in ("since", "until")}
    for key, text in shown.items():
        if text:
            gone: dict[str, str | None] = {key: None, "after": None}
            if key == "class":
                gone |= {"min": None, "max": None}
            found.append({"key": key, "text": text, "without": _address(request, **gone)})
    return found


def _page(request: HttpRequest, found: Collection, asked: Filter) -> dict[str, Any]:
    after = request.GET.get("after") or None
    shown = gallery_page(found, asked, after, PAGE)
    return {
        "collection": found,
        "images": shown.images,
        "after": after or "",
        "next": _address(request, after=shown.next) if shown.next else "",
        "may_edit": can_edit(request.user, found),
        "progress": selectors.progress_of(found),
        "section": "home",
    }


@page
@require_GET
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Upload area, progress, filters and gallery; the tiles alone for the script."""
    found = selectors.collection_for(request.user, pk)
    asked = parse_filter(request.GET)
    context = _page(request, found, asked)
    if "tiles" in request.GET:
        return render(request, "_tiles.html", context)
    context |= {
        "asked": asked,
        "values": request.GET,
        "chips": _chips(request, asked),
        "newest": _address(request, after=None),
        "tags": found.tags.all()[:500],
        "classes": selectors.classes_of(active_release()),
        "states": Analysis.State.values,
        "sorts": SORTS,
        "targets": selectors.collections_for(request.user)
        .filter(pk__in=editable_by(request.user))
        .exclude(pk=pk),
        "tab": "gallery",
    }
    return render(request, "collection.html", context)


@page
@require_GET
def live(request: HttpRequest, pk: int) -> JsonResponse:
    """Progress as HTML, and the tiles (HTML by id) of the pictures named that are final by now."""
    found = selectors.collection_for(request.user, pk)
    wanted = request.GET.get("ids", "").split(",")[:MOST_LIVE]
    try:
        ids = [uuid.UUID(text) for text in wanted if text]
    except ValueError as error:
        raise FieldInvalid("ids are ids of pictures.", field="ids") from error
    images = list(Image.objects.filter(collection=found, pk__in=ids))
    add_states(images)
    context = {"collection": found, "may_edit": can_edit(request.user, found)}
    waiting = "all" not in request.GET
    tiles = {
        str(image.pk): render_to_string("_tile.html", {**context, "image": image}, request)
        for image in images
        if not waiting or image.state not in ("queued", "running")  # type: ignore[attr-defined]
    }
    progress = selectors.progress_of(found)
    return JsonResponse(
        {
            "waiting": progress.waiting,
            "total": progress.total,
            "progress": render_to_string("_progress.html", {"progress": progress}, request),
            "tiles": tiles,
        }
    )


def _selection(request: HttpRequest, found: Collection, body: dict[str, Any]) -> Any:
    """The pictures that a body names: by `ids`, or by `filter`, a query string of this page."""
    if "filter" in body:
        from django.http import QueryDict

        return filtered(found, parse_filter(QueryDict(str(body["filter"]))))
    ids = body.get("ids")
    if not isinstance(ids, list) or not ids:
        raise FieldInvalid("Choose pictures first.", field="ids")
    return bulk.chosen(request.user, ids).filter(collection=found)


@page
@require_POST
def act(request: HttpRequest, pk: int, action: str) -> JsonResponse:
    """Tag, move, parse again or delete a selection; JSON says how many."""
    found = selectors.collection_for(request.user, pk)
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as error:
        raise FieldInvalid("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise FieldInvalid("The body must be an object of fields.")
    images = _selection(request, found, body)
    if action == "tag":
        add, remove = ([str(one) for one in body.get(key) or []] for key in ("add", "remove"))
        return JsonResponse({"changed": bulk.tag(request.user, images, add, remove)})
    if action == "move":
        target = selectors.collection_for(request.user, _int(body.get("to")))
        moved = bulk.move(request.user, images, target)
        return JsonResponse({"changed": moved.moved, "duplicates": moved.duplicates})
    if action == "parse":
        return JsonResponse({"changed": bulk.parse_again(request.user, images)})
    count, key = bulk.delete(request.user, images)
    undo = reverse("undo", args=[key])
    return JsonResponse({"changed": count, "undo": undo})


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise FieldInvalid("Choose a collection.", field="to") from error


@page
@require_POST
def undo(request: HttpRequest, key: uuid.UUID) -> JsonResponse:
    """Bring back what a deletion hid."""
    return JsonResponse({"changed": bulk.restore(request.user, key)})


@page
@require_POST
def download(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """A ZIP of the ticked pictures with their masks and a table of areas."""
    found = selectors.collection_for(request.user, pk)
    try:
        ids = [uuid.UUID(text) for text in request.POST.get("ids", "").split(",") if text]
    except ValueError as error:
        raise FieldInvalid("ids are ids of pictures.", field="ids") from error
    if not 0 < len(ids) <= MOST_DOWNLOADED:
        raise FieldInvalid(f"Choose 1 to {MOST_DOWNLOADED} pictures.", field="ids")
    images = list(Image.objects.filter(collection=found, pk__in=ids))
    response = StreamingHttpResponse(archive(request.user, images), "application/zip")
    response["Content-Disposition"] = f'attachment; filename="paysage-{found.pk}.zip"'
    return response


@page
@require_POST
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """One file of a form; JSON for the page's script."""
    found = selectors.collection_for(request.user, pk)
    file = request.FILES.get("file")
    if file is None:
        raise FileRequired("Choose a picture first.", field="file")
    stored = services.upload_image(request.user, found, file, file.name or "")
    url = reverse("image", args=[stored.image.pk])
    body = {"id": str(stored.image.pk), "url": url, "created": stored.created}
    return JsonResponse(body, status=201 if stored.created else 200)
