"""The search page: a shell for its script; the address bar holds the whole query."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from retrieval import selectors, services
from retrieval.errors import FileRequired
from retrieval.models import Collection, Image
from retrieval.permissions import can_edit
from retrieval.phrases import said
from retrieval.templatetags.paysage import named
from retrieval.upload import active_release
from retrieval.web.page import page


def _share(text: str) -> float | None:
    try:
        return min(100.0, max(0.0, float(text))) / 100
    except ValueError:
        return None


def _linked(request: HttpRequest) -> dict[str, Any]:
    """The query of a short link: image, region, collection, and class/min/max rows in percent."""
    values = request.GET
    if values.get("q"):
        try:
            found = json.loads(values["q"])
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}
    query: dict[str, Any] = {}
    if values.get("image"):
        example: dict[str, Any] = {"image": values["image"]}
        if values.get("region", "").isdigit():
            example["region"] = int(values["region"])
        query["like"] = [example]
    if values.get("collection", "").isdigit():
        query["where"] = {"collections": [int(values["collection"])]}
    rows = zip(values.getlist("class"), values.getlist("min"), values.getlist("max"), strict=False)
    for name, low, high in rows:
        if name:
            row = {"name": name, "min": _share(low), "max": _share(high)}
            asked = {key: value for key, value in row.items() if value is not None}
            query.setdefault("classes", []).append(asked)
    return query


def _starts(collections: list[Collection], most: int = 12) -> list[Image]:
    """Pictures to begin with: the newest of each of the first collections, equally many of each."""
    first = collections[:most]
    covers = selectors.covers_of(first, most=most // max(1, len(first)))
    return [image for one in first for image in covers[one.pk]]


@page
@require_GET
def search_page(request: HttpRequest) -> HttpResponse:
    """The page with what its script needs; answers come from the API."""
    release = active_release()
    collections = list(selectors.collections_for(request.user))
    setup = {
        "query": _linked(request),
        "classes": [
            {"index": c.index, "name": c.name, "label": named(c), "colour": c.colour}
            for c in selectors.classes_of(release)
        ],
        "collections": [{"id": c.pk, "name": c.name} for c in collections],
        "rank": release.ranking,
        "urls": {
            "search": reverse("api:searches"),
            "words": reverse("api:words"),
            "count": reverse("api:count"),
            "histograms": reverse("api:histograms"),
            "layout": reverse("api:layout"),
            "explain": reverse("api:explain"),
            "saved": reverse("api:saved_searches"),
            "upload": reverse("search_upload"),
        },
    }
    context = {"setup": setup, "section": "search", "starts": _starts(collections)}
    return render(request, "search.html", context)


@page
@require_POST
def search_upload(request: HttpRequest) -> HttpResponse:
    """A picture to search with; the page waits for it to be parsed."""
    file = request.FILES.get("file")
    if file is None:
        raise FileRequired("Choose a picture first.", field="file")
    stored = services.upload_query(request.user, file, file.name or "")
    url = f"{reverse('search')}?image={stored.image.pk}"
    if "application/json" in request.headers.get("Accept", ""):
        body = {"id": str(stored.image.pk), "url": url, "created": stored.created}
        return JsonResponse(body, status=201)
    return redirect(url)


@page
@require_GET
def parts(request: HttpRequest, pk: uuid.UUID) -> JsonResponse:
    """What the search page shows of one picture: state, title and segments."""
    found = selectors.image_for(request.user, pk)
    analysis = selectors.analysis_of(found)
    state = analysis.state if analysis else "none"
    regions = []
    if analysis and state == "done":
        regions = [
            {"number": r.number, "class": r.class_index, "area": r.area, "box": r.box}
            for r in selectors.regions_of(found, analysis.release).defer("vector")
        ]
    return JsonResponse(
        {
            "id": str(found.pk),
            "title": found.title,
            "state": state,
            "error": said(analysis.error_detail) if analysis else "",
            "width_px": found.width_px,
            "height_px": found.height_px,
            "thumb": reverse("thumb", args=[found.pk, 256]),
            "large": reverse("thumb", args=[found.pk, 1024]),
            "mask": reverse("api:mask", args=[found.pk]),
            "page": reverse("image", args=[found.pk]),
            "may_edit": can_edit(request.user, found.collection),
            "regions": regions,
        }
    )
