"""The first page: collections, what is in them and what is being parsed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from retrieval import selectors, services
from retrieval.errors import RetrievalError
from retrieval.phrases import said
from retrieval.web.page import page
from retrieval.web.signing_in import tour_is_due


def _rows(request: HttpRequest) -> list[dict[str, Any]]:
    collections = list(selectors.collections_for(request.user).select_related("owner"))
    progress = selectors.progress_of_all(collections)
    covers = selectors.covers_of(collections)
    return [
        {"collection": one, "covers": covers[one.pk], "progress": progress[one.pk]}
        for one in collections
    ]


@page
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Collections with cover mosaics, counts and progress; alone for htmx while something is parsed."""
    rows = _rows(request)
    context = {
        "rows": rows,
        "waiting": any(row["progress"].waiting for row in rows),
        "section": "home",
    }
    if request.headers.get("HX-Request"):
        return render(request, "_home.html", context)
    return render(request, "home.html", {**context, "tour": tour_is_due(request)})


@page
@require_POST
def create_collection(request: HttpRequest) -> HttpResponse:
    try:
        made = services.create_collection(
            request.user, request.POST.get("name", ""), request.POST.get("visibility", "private")
        )
    except RetrievalError as error:
        messages.error(request, said(error.message))
        return redirect("home")
    return redirect("collection", made.pk)
