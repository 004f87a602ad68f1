"""What every page shares: sign-in, and errors as pages or JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from retrieval.api.errors import json_error
from retrieval.errors import RetrievalError

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Signed-in people only; errors of ours become a page, or JSON for scripts."""

    @login_required
    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except RetrievalError as error:
            if "application/json" in request.headers.get("Accept", ""):
                return json_error(error, request)
            return render(request, "error.html", {"error": error}, status=error.http_status)

    return shown
