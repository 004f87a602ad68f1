"""Signing in; who does so for the first time is shown around."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse

TOUR = "tour"


class SignIn(LoginView):
    """The form of name and password; remembers that a first visit is owed the tour."""

    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign in. `last_login` is empty until that moment, and never again."""
        first = form.get_user().last_login is None
        answer = super().form_valid(form)
        if first:
            self.request.session[TOUR] = True
        return answer


def tour_is_due(request: HttpRequest) -> bool:
    """Whether the tour is to be shown now: once after the first sign-in, or when asked for."""
    return bool(request.session.pop(TOUR, False)) or TOUR in request.GET
