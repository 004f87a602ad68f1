"""A collection as a whole: its map, its charts, and pictures that are nearly the same."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from retrieval import selectors
from retrieval.permissions import can_edit
from retrieval.templatetags.paysage import named
from retrieval.upload import active_release
from retrieval.web.page import page


@page
@require_GET
def explore(request: HttpRequest, pk: int) -> HttpResponse:
    """Map and charts; their numbers come from the API."""
    found = selectors.collection_for(request.user, pk)
    setup: dict[str, Any] = {
        "map": reverse("api:map", args=[pk]),
        "charts": f"{reverse('api:charts')}?collection={pk}",
        "search": f"{reverse('search')}?collection={pk}",
        "classes": [
            {"name": c.name, "label": named(c), "colour": c.colour}
            for c in selectors.classes_of(active_release())
        ],
    }
    context = {"collection": found, "setup": setup, "tab": "explore", "section": "home"}
    return render(request, "explore.html", context)


@page
@require_GET
def alike(request: HttpRequest, pk: int) -> HttpResponse:
    """Near-duplicates, pair by pair, to be resolved."""
    found = selectors.collection_for(request.user, pk)
    setup = {
        "pairs": reverse("api:duplicates", args=[pk]),
        "pair": reverse("api:duplicate", args=[0])[:-1],
        "may_edit": can_edit(request.user, found),
    }
    context = {"collection": found, "setup": setup, "tab": "alike", "section": "home"}
    return render(request, "alike.html", context)
