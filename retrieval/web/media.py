"""Picture files, colours and words that pages load."""

from __future__ import annotations

import uuid

from django.core.files.storage import default_storage
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from retrieval import selectors
from retrieval.errors import NotFound
from retrieval.models import SheetStage
from retrieval.upload import active_release
from retrieval.web.page import page
from segmentation.formats import CONTENT_TYPES

# Fixed type, no sniffing, no scripts: whatever bytes hide behind a picture stay a picture.
PICTURE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


def _picture(name: str | None, content_type: str) -> FileResponse:
    try:
        file = default_storage.open(name or "")
    except (OSError, ValueError) as error:
        raise NotFound("The file is not there.") from error
    return FileResponse(file, content_type=content_type, headers=PICTURE_HEADERS)


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


@page
@require_GET
@cache_control(private=True, max_age=86_400)
def stage(request: HttpRequest, pk: uuid.UUID, key: str) -> HttpResponse:
    """One stage of how a picture was parsed, as PNG."""
    found = SheetStage.objects.filter(
        sheet__image=selectors.image_for(request.user, pk),
        sheet__release__state="active",
        key=key,
    ).first()
    if found is None:
        raise NotFound("There is no such stage yet.")
    return HttpResponse(bytes(found.png), content_type="image/png", headers=PICTURE_HEADERS)
