"""A collection's pages: gallery, live progress, simple uploads."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from retrieval import selectors, services
from retrieval.errors import FileRequired
from retrieval.models import Analysis
from retrieval.permissions import can_edit
from retrieval.web.page import page

PAGE = 60


def _gallery(request: HttpRequest, pk: int) -> dict[str, Any]:
    collection = selectors.collection_for(request.user, pk)
    images = selectors.images_for(request.user).filter(collection=collection)
    if after := request.GET.get("after"):
        images = images.filter(pk__lt=selectors.image_for(request.user, after).pk)
    shown = list(images[: PAGE + 1])
    states = dict(
        Analysis.objects.filter(image__in=shown, release__state="active").values_list(
            "image_id", "state"
        )
    )
    return {
        "collection": collection,
        "tiles": [(image, states.get(image.pk, "")) for image in shown[:PAGE]],
        "next": shown[PAGE - 1].pk if len(shown) > PAGE else None,
        "progress": selectors.progress_of(collection),
        "may_edit": can_edit(request.user, collection),
        "section": "home",
    }


@page
@require_GET
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Upload area, progress and gallery."""
    return render(request, "collection.html", _gallery(request, pk))


@page
@require_GET
def live(request: HttpRequest, pk: int) -> HttpResponse:
    """Progress and gallery alone, which htmx asks for while pictures are being parsed."""
    return render(request, "_gallery.html", _gallery(request, pk))


@page
@require_POST
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """One file of a form; JSON for the page's script."""
    collection = selectors.collection_for(request.user, pk)
    file = request.FILES.get("file")
    if file is None:
        raise FileRequired("Choose a picture first.", field="file")
    stored = services.upload_image(request.user, collection, file, file.name or "")
    url = reverse("image", args=[stored.image.pk])
    body = {"id": str(stored.image.pk), "url": url, "created": stored.created}
    return JsonResponse(body, status=201 if stored.created else 200)
