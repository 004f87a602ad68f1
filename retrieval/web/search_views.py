"""The search page: the address bar holds the whole query."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from retrieval import search, selectors, services
from retrieval.errors import FileRequired, RetrievalError
from retrieval.upload import active_release
from retrieval.web.page import page


def _percent(text: str) -> float | None:
    try:
        return min(100.0, max(0.0, float(text))) / 100
    except ValueError:
        return None


def _payload(request: HttpRequest) -> dict[str, Any]:
    """The page's address as a query: image, collection, and class_i/min_i/max_i rows in percent."""
    values = request.GET
    payload: dict[str, Any] = {"limit": 48, "classes": []}
    if values.get("image"):
        payload["like"] = [{"image": values["image"]}]
    if values.get("collection"):
        payload["where"] = (
            {"collections": [int(values["collection"])]} if values["collection"].isdigit() else {}
        )
    if values.get("metric"):
        payload["metric"] = values["metric"]
    rows = zip(values.getlist("class"), values.getlist("min"), values.getlist("max"), strict=False)
    for name, low, high in rows:
        if name:
            row = {"name": name, "min": _percent(low), "max": _percent(high)}
            payload["classes"].append({k: v for k, v in row.items() if v is not None})
    return payload


@page
@require_GET
def search_page(request: HttpRequest) -> HttpResponse:
    """The query in the address bar, and its answer."""
    release = active_release()
    context: dict[str, Any] = {
        "classes": selectors.classes_of(release),
        "collections": selectors.collections_for(request.user),
        "asked": list(
            zip(*(request.GET.getlist(k) for k in ("class", "min", "max")), strict=False)
        ),
        "chosen": request.GET.get("collection", ""),
        "metric": request.GET.get("metric", "cosine"),
    }
    context["asked"] += [("", "", "")] * max(1, 3 - len(context["asked"]))
    try:
        if request.GET.get("image"):
            context["image"] = selectors.image_for(request.user, request.GET["image"])
            context["analysis"] = selectors.analysis_of(context["image"])
        state = context["analysis"].state if context.get("analysis") else ""
        context["waiting"] = state in ("queued", "running")
        if state in ("", "done") and any(request.GET.get(k) for k in ("image", "class")):
            query = search.parse(_payload(request), release=release)
            context["answer"] = search.run(query, request.user)
    except RetrievalError as error:
        context["error"] = error
    template = "_results.html" if request.headers.get("HX-Request") else "search.html"
    return render(request, template, context)


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
        return JsonResponse(
            {"id": str(stored.image.pk), "url": url, "created": stored.created}, status=201
        )
    return redirect(url)
