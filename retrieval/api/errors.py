"""One error shape for everything that answers JSON."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from retrieval.errors import DatabaseUnavailable, RetrievalError


def body(code: str, message: str, field: str | None, request: Any) -> dict[str, Any]:
    """`{"error": {"code", "message", "field", "request_id"}}`."""
    request_id = getattr(request, "request_id", None) or getattr(
        getattr(request, "_request", None), "request_id", ""
    )
    return {"error": {"code": code, "message": message, "field": field, "request_id": request_id}}


def json_error(error: RetrievalError, request: HttpRequest) -> JsonResponse:
    """The error as a plain Django response, for views outside the API."""
    return JsonResponse(
        body(error.code, error.message, error.field, request), status=error.http_status
    )


def _first_message(detail: Any) -> tuple[str | None, str]:
    if isinstance(detail, dict) and detail:
        name, value = next(iter(detail.items()))
        return (None if name in ("detail", "non_field_errors") else str(name)), _first_message(
            value
        )[1]
    if isinstance(detail, list) and detail:
        return None, _first_message(detail[0])[1]
    return None, str(detail)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: every error of ours, of DRF's and of the database in the one shape."""
    request = context.get("request")
    if isinstance(error, OperationalError | InterfaceError):
        error = DatabaseUnavailable("The database does not answer; try again in a moment.")
    if isinstance(error, RetrievalError):
        headers = {"Retry-After": "5"} if error.http_status == 503 else {}
        return Response(
            body(error.code, error.message, error.field, request),
            status=error.http_status,
            headers=headers,
        )
    if isinstance(error, exceptions.APIException):
        field, message = _first_message(error.detail)
        code = {
            401: "not_signed_in",
            403: "forbidden",
            404: "not_found",
            429: "throttled",
            405: "method_not_allowed",
        }.get(error.status_code, "field_invalid")
        headers = {}
        wait = getattr(error, "wait", None)
        if wait:
            headers["Retry-After"] = str(int(wait) + 1)
        if error.status_code == 401:
            headers["WWW-Authenticate"] = "Token"
        return Response(
            body(code, message, field, request), status=error.status_code, headers=headers
        )
    from django.http import Http404

    if isinstance(error, Http404):
        return Response(body("not_found", "There is nothing here.", None, request), status=404)
    return None
