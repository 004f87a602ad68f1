"""Signing in; who does so for the first time is shown around."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from retrieval.api.token_views import SignInThrottle
from retrieval.errors import TooManyTries
from retrieval.web.page import told

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


def throttled(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A sign-in form that takes as many wrong passwords from an address as the API does."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        throttle: Any = SignInThrottle()
        if not throttle.allow_request(request, view):
            wait = math.ceil(throttle.wait() or 1)
            answer = told(request, TooManyTries(f"Too many tries to sign in; wait {wait} s."))
            answer["Retry-After"] = str(wait)
            return answer
        response = view(request, *args, **kwargs)
        if response.status_code == 302:  # signed in: no guess
            throttle.cache.set(throttle.key, throttle.history[1:], throttle.duration)
        return response

    return checked


def tour_is_due(request: HttpRequest) -> bool:
    """Whether the tour is to be shown now: once after the first sign-in, or when asked for."""
    return bool(request.session.pop(TOUR, False)) or TOUR in request.GET
