"""The page of one picture, and how it was parsed."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from retrieval import bulk, search, selectors, services, sheets
from retrieval.errors import StateConflict
from retrieval.models import Analysis, Image, Mask, Sheet
from retrieval.permissions import can_edit, require_edit
from retrieval.phrases import said
from retrieval.templatetags.paysage import named
from retrieval.web.page import page

NEIGHBOURS = 12


def _neighbours(request: HttpRequest, image: Image, analysis: Analysis) -> search.Answer:
    payload = {"like": [{"image": str(image.pk)}], "limit": NEIGHBOURS}
    return search.run(search.parse(payload, release=analysis.release), request.user)


def _beside(request: HttpRequest, image: Image) -> dict[str, Any]:
    """Ids of the pictures before and after in the collection's order, newest first."""
    mates = selectors.images_for(request.user).filter(collection=image.collection)
    newer = mates.filter(pk__gt=image.pk).order_by("id").values_list("pk", flat=True).first()
    older = mates.filter(pk__lt=image.pk).values_list("pk", flat=True).first()
    return {"previous": newer, "following": older}


def _parsed(request: HttpRequest, image: Image, analysis: Analysis) -> dict[str, Any]:
    """What only a parsed picture has."""
    classes = {found.index: found for found in selectors.classes_of(analysis.release)}
    regions = list(selectors.regions_of(image, analysis.release).defer("vector"))
    return {
        "areas": selectors.areas_of(image, analysis.release),
        "mask": Mask.objects.filter(image=image, release=analysis.release).defer("png").first(),
        "regions": [
            {"number": r.number, "area": r.area, "class": classes.get(r.class_index)}
            for r in regions
            if r.class_index is not None
        ],
        "classes_json": [
            {"index": c.index, "name": named(c), "colour": c.colour} for c in classes.values()
        ],
        "regions_json": [
            {"number": r.number, "class": r.class_index, "area": r.area, "box": r.box}
            for r in regions
        ],
        "answer": _neighbours(request, image, analysis),
    }


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
        "section": "home",
        **_beside(request, found),
    }
    if analysis and analysis.state == "done":
        context |= _parsed(request, found, analysis)
    template = "_image.html" if request.headers.get("HX-Request") else "image.html"
    return render(request, template, context)


@page
@require_POST
def parse_again(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    try:
        services.parse_again(request.user, selectors.image_for(request.user, pk))
    except StateConflict as error:
        messages.error(request, said(error.message))
    return redirect("image", pk)


@page
@require_POST
def delete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    found = selectors.image_for(request.user, pk)
    require_edit(request.user, found.collection)
    _count, key = bulk.delete(request.user, Image.objects.filter(pk=pk))
    if found.collection.kind != "normal":
        return redirect("search")
    return redirect(f"{reverse('collection', args=[found.collection_id])}#undo={key}")


def _stages(sheet: Sheet) -> list[dict[str, str]]:
    """The stages of a drawn sheet in the page's language."""
    return [
        {
            "key": stage.key,
            "title": _(stage.title),
            "sentence": _(stage.sentence),
            "shape": stage.shape,
            "url": reverse("stage", args=[sheet.image_id, stage.key]),
        }
        for stage in sheet.stages.defer("png")
    ]


@page
@require_GET
def explained(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """How the picture was parsed, stage by stage; asking for the page asks for the drawing."""
    found = selectors.image_for(request.user, pk)
    sheet = sheets.ask(found)
    context: dict[str, Any] = {"image": found, "sheet": sheet, "section": "home"}
    if sheet.state == "done":
        analysis = selectors.analysis_of(found)
        assert analysis is not None  # `ask` has checked it
        context |= {
            "stages": _stages(sheet),
            "answer": _neighbours(request, found, analysis),
        }
    template = "_stages.html" if request.headers.get("HX-Request") else "explained.html"
    return render(request, template, context)


@page
@require_http_methods(["GET", "POST"])
def explained_state(request: HttpRequest, pk: uuid.UUID) -> JsonResponse:
    """State and stages as JSON; POST asks for the drawing."""
    found = selectors.image_for(request.user, pk)
    if request.method == "POST":
        sheet: Sheet | None = sheets.ask(found)
    else:
        sheet = Sheet.objects.filter(image=found, release__state="active").first()
    if sheet is None:
        return JsonResponse({"state": "none", "stages": [], "error": ""})
    return JsonResponse(
        {"state": sheet.state, "stages": _stages(sheet), "error": said(sheet.error_detail)}
    )
