"""What every page shares: sign-in, and errors as pages or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from retrieval.api.errors import FAULT, as_ours, json_error
from retrieval.errors import DatabaseUnavailable, RetrievalError

View = Callable[..., HttpResponseBase]
_RETRY_S = 5


def told(request: HttpRequest, error: RetrievalError) -> HttpResponse:
    """The error as a page, or as JSON for scripts."""
    wants_json = "application/json" in request.headers.get("Accept", "")
    answer: HttpResponse
    if wants_json or request.path.startswith("/api/"):
        answer = json_error(error, request)
    else:
        answer = render(request, "error.html", {"error": error}, status=error.http_status)
    if isinstance(error, DatabaseUnavailable):
        answer["Retry-After"] = str(_RETRY_S)
    return answer


def page(view: View) -> View:
    """Signed-in people only; errors of ours become a page, or JSON for scripts."""

    @login_required
    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except RetrievalError as error:
            return told(request, error)

    return shown


def failed(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`: what no view caught, such as errors in middleware and of the database."""
    error = as_ours(sys.exc_info()[1] or RetrievalError(FAULT))
    if not isinstance(error, RetrievalError):
        error = RetrievalError(FAULT)
    if isinstance(error, DatabaseUnavailable):
        request.user = AnonymousUser()  # whose name the page would ask the database for
    return told(request, error)
