"""The pages: thin views over services, selectors and search."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.files.storage import default_storage
from django.db import connection
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_POST

from retrieval import search, selectors, services
from retrieval.errors import FileRequired, NotFound, RetrievalError
from retrieval.models import Analysis, Image, Mask
from retrieval.permissions import can_edit
from retrieval.upload import active_release
from retrieval.web.page import page
from segmentation.formats import CONTENT_TYPES

PAGE = 60
NEIGHBOURS = 12


@page
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Collections with covers and progress."""
    rows = []
    for collection in selectors.collections_for(request.user):
        covers = Image.objects.filter(collection=collection).exclude(thumb_256="")[:4]
        rows.append((collection, covers, selectors.progress_of(collection)))
    return render(request, "home.html", {"rows": rows})


@page
@require_POST
def create_collection(request: HttpRequest) -> HttpResponse:
    try:
        made = services.create_collection(
            request.user, request.POST.get("name", ""), request.POST.get("visibility", "private")
        )
    except RetrievalError as error:
        messages.error(request, error.message)
        return redirect("home")
    return redirect("collection", made.pk)


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
    }


@page
@require_GET
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Upload area, progress and gallery."""
    return render(request, "collection.html", _gallery(request, pk))


@page
@require_GET
def collection_live(request: HttpRequest, pk: int) -> HttpResponse:
    """Progress and gallery alone, which htmx asks for while pictures are being parsed."""
    return render(request, "_gallery.html", _gallery(request, pk))


@page
@require_POST
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """One file of a drop; JSON for the page's script."""
    collection = selectors.collection_for(request.user, pk)
    file = request.FILES.get("file")
    if file is None:
        raise FileRequired("Choose a picture first.", field="file")
    stored = services.upload_image(request.user, collection, file, file.name or "")
    url = reverse("image", args=[stored.image.pk])
    body = {"id": str(stored.image.pk), "url": url, "created": stored.created}
    return JsonResponse(body, status=201 if stored.created else 200)


@page
@require_GET
def image(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """A picture with its mask, areas, facts and neighbours."""
    found = selectors.image_for(request.user, pk)
    analysis = selectors.analysis_of(found)
    context: dict[str, Any] = {
        "image": found,
        "analysis": analysis,
        "may_edit": can_edit(request.user, found.collection),
        "tags": found.tags.all(),
    }
    if analysis and analysis.state == "done":
        context["areas"] = [
            (c, round(100 * s, 1)) for c, s in selectors.areas_of(found, analysis.release)
        ]
        context["mask"] = Mask.objects.filter(image=found, release=analysis.release).first()
        query = search.parse(
            {"like": [{"image": str(pk)}], "limit": NEIGHBOURS}, release=analysis.release
        )
        context["answer"] = search.run(query, request.user)
    template = "_image.html" if request.headers.get("HX-Request") else "image.html"
    return render(request, template, context)


@page
@require_POST
def parse_again(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    try:
        services.parse_again(request.user, selectors.image_for(request.user, pk))
    except RetrievalError as error:
        messages.error(request, error.message)
    return redirect("image", pk)


@page
@require_POST
def delete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    found = selectors.image_for(request.user, pk)
    services.delete_images(request.user, [found])
    return redirect("collection", found.collection_id)


def _picture(name: str | None, content_type: str) -> FileResponse:
    try:
        file = default_storage.open(name or "")
    except (OSError, ValueError) as error:
        raise NotFound("The file is not there.") from error
    response = FileResponse(file, content_type=content_type)
    # Fixed type, no sniffing, no scripts: whatever bytes hide behind a picture stay a picture.
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'"
    return response


@page
@require_GET
@cache_control(private=True, max_age=86_400)
def thumb(request: HttpRequest, pk: uuid.UUID, side: int) -> HttpResponseBase:
    """A WebP thumbnail of 256 or 1024 px."""
    found = selectors.image_for(request.user, pk)
    file = {256: found.thumb_256, 1024: found.thumb_1024}.get(side)
    if not file:
        raise NotFound("There is no such thumbnail yet.")
    return _picture(file.name, "image/webp")


@page
@require_GET
def original(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The file as uploaded, with whatever its metadata tells: for its uploader only."""
    found = selectors.image_for(request.user, pk)
    if found.uploader_id != request.user.pk:
        raise NotFound("There is no such image.")
    return _picture(found.original.name, CONTENT_TYPES[found.format])


@require_GET
@cache_control(public=True, max_age=300)
def palette(request: HttpRequest) -> HttpResponse:
    """The classes' colours as a style sheet, so that pages need no inline styles."""
    rows = [
        f".class-{c.index}{{--class:{c.colour}}}" for c in selectors.classes_of(active_release())
    ]
    return HttpResponse("\n".join(rows), content_type="text/css")


@require_GET
def health(request: HttpRequest) -> JsonResponse:
    """200 when the database and the queue answer, else 503."""
    import redis
    from django.conf import settings

    found: dict[str, Any] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            found["database"], found["pgvector"] = "ok", cursor.fetchone()[0]
    except Exception as error:  # any failure is the answer
        found["database"] = type(error).__name__
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1).ping()
        found["queue"] = "ok"
    except (redis.RedisError, ValueError) as error:
        found["queue"] = type(error).__name__
    healthy = found["database"] == found["queue"] == "ok"
    return JsonResponse(found, status=200 if healthy else 503)
