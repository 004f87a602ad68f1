"""The jobs page: what runs, waits, failed and why; retry one, some, all."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from retrieval import jobs, selectors
from retrieval.models import Analysis
from retrieval.permissions import editable_by
from retrieval.web.page import page

PAGE = 50


def _asked(request: HttpRequest) -> dict[str, str]:
    """The filters in the address: state, code and collection."""
    source = request.POST if request.method == "POST" else request.GET
    return {key: source[key] for key in ("state", "code", "collection") if source.get(key)}


def _filtered(request: HttpRequest, asked: dict[str, str]) -> Any:
    found = jobs.jobs_for(request.user)
    if asked.get("collection", "").isdigit():
        found = found.filter(
            collection=selectors.collection_for(request.user, int(asked["collection"]))
        )
    if asked.get("state") in Analysis.State.values:
        found = found.filter(state=asked["state"])
    if "code" in asked:
        found = found.filter(error_code=asked["code"])
    return found


@page
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Numbers, reasons, and a page of rows; the numbers alone for htmx."""
    asked = _asked(request)
    everything = _filtered(request, {k: v for k, v in asked.items() if k not in ("state", "code")})
    rows = _filtered(request, asked)
    if "state" not in asked:
        rows = rows.exclude(state="done")
    if request.GET.get("after", "").isdigit():
        rows = rows.filter(pk__lt=int(request.GET["after"]))
    rows = rows.select_related("image", "collection", "release").order_by("-pk")[: PAGE + 1]
    shown = list(rows)
    editable = set(editable_by(request.user).values_list("pk", flat=True))
    context = {
        "asked": asked,
        "address": urlencode(asked),
        "summary": jobs.summary_of(everything),
        "reasons": jobs.reasons_of(everything),
        "rows": [(job, job.collection_id in editable) for job in shown[:PAGE]],
        "next": shown[PAGE - 1].pk if len(shown) > PAGE else None,
        "collections": selectors.collections_for(request.user),
        "states": Analysis.State.values,
        "ended_badly": jobs.ENDED_BADLY,
        "section": "jobs",
    }
    template = "_jobs.html" if request.headers.get("HX-Request") else "jobs.html"
    return render(request, template, context)


@page
@require_POST
def retry(request: HttpRequest) -> HttpResponse:
    """Retry the ticked rows, or with `all` every failed one of the filter."""
    asked = _asked(request)
    ids = None
    if "all" not in request.POST:
        ids = [int(text) for text in request.POST.getlist("job") if text.isdigit()]
    count = jobs.retry(request.user, _filtered(request, asked), ids)
    text = ngettext("%(n)d picture is parsed again.", "%(n)d pictures are parsed again.", count)
    messages.success(request, text % {"n": count})
    return redirect(f"{reverse('jobs')}?{urlencode(asked)}")
