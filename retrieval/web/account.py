"""The reader's own page: tokens for programs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from retrieval import services
from retrieval.models import ApiToken
from retrieval.web.page import page


def _tokens(request: HttpRequest) -> QuerySet[ApiToken]:
    user: Any = request.user
    return ApiToken.objects.filter(user=user, revoked_at=None)


def _days(text: str) -> int:
    return int(text) if text.isdigit() and 1 <= int(text) <= 3650 else 90


@page
@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Tokens of the user; a new one's text is shown in the answer to its form and never again."""
    shown = None
    if request.method == "POST":
        scope = "write" if request.POST.get("scope") == "write" else "read"
        name = request.POST.get("name", "").strip() or _("a program")
        shown = services.create_token(
            request.user, name, scope, _days(request.POST.get("days", "90"))
        )
    tokens = _tokens(request)
    context = {"tokens": tokens, "shown": shown, "now": timezone.now(), "section": "account"}
    return render(request, "account.html", context, status=201 if shown else 200)


@page
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End a token of the user's own at once."""
    if _tokens(request).filter(pk=pk).update(revoked_at=timezone.now()):
        messages.success(request, _("The token is revoked."))
    return redirect("account")
