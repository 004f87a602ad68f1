"""One error shape for everything that answers JSON."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.signals import got_request_exception
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response

from retrieval.errors import (
    DatabaseUnavailable,
    FieldInvalid,
    FileTooLarge,
    NotFound,
    RetrievalError,
)
from retrieval.phrases import said

log = logging.getLogger("paysage.api")
FAULT = "Something went wrong here; the log has it under the request's id."

_CODES = {
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "media_type_unsupported",
    429: "throttled",
}


def body(code: str, message: str, field: str | None, request: Any) -> dict[str, Any]:
    """`{"error": {"code", "message", "field", "request_id"}}`."""
    request_id = getattr(request, "request_id", None) or getattr(
        getattr(request, "_request", None), "request_id", ""
    )
    return {
        "error": {"code": code, "message": said(message), "field": field, "request_id": request_id}
    }


def json_error(error: RetrievalError, request: HttpRequest) -> JsonResponse:
    """The error as a plain Django response, for views outside the API."""
    return JsonResponse(
        body(error.code, error.message, error.field, request), status=error.http_status
    )


@csrf_exempt
def unknown_route(request: HttpRequest, **_: str) -> JsonResponse:
    """404 in the one shape for every path below /api/ that is no endpoint."""
    message = f"There is no endpoint {request.path}; /api/v1/docs shows those there are."
    return json_error(NotFound(message), request)


def _first_message(detail: Any) -> tuple[str | None, str]:
    if isinstance(detail, dict) and detail:
        name, value = next(iter(detail.items()))
        return (None if name in ("detail", "non_field_errors") else str(name)), _first_message(
            value
        )[1]
    if isinstance(detail, list) and detail:
        return None, _first_message(detail[0])[1]
    return None, str(detail)


def as_ours(error: BaseException) -> BaseException:
    """Errors of Django and the database as ours, where they have a meaning for the caller."""
    if isinstance(error, OperationalError | InterfaceError):
        return DatabaseUnavailable("The database does not answer; try again in a moment.")
    if isinstance(error, DataError | UnicodeEncodeError):
        return FieldInvalid("A value is out of range, or has characters that cannot be stored.")
    if isinstance(error, RequestDataTooBig):
        return FileTooLarge("The body is too large; send files as multipart/form-data.")
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent):
        return FieldInvalid("The form has too many fields or files.")
    if isinstance(error, SuspiciousOperation):
        return FieldInvalid("The request cannot be read.")
    if isinstance(error, Http404):
        return NotFound("There is nothing here.")
    return error


def _framework_error(error: exceptions.APIException, request: Any) -> Response:
    field, message = _first_message(error.detail)
    unreadable = isinstance(error, exceptions.ParseError)
    code = _CODES.get(error.status_code, "body_unreadable" if unreadable else "field_invalid")
    headers = {}
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(int(wait) + 1)
    if error.status_code == 401:
        headers["WWW-Authenticate"] = "Token"
    return _answer(body(code, message, field, request), error.status_code, headers)


def _answer(found: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    # JSON whatever was asked for: endpoints of pictures answer their errors in it too.
    return Response(found, status, headers=headers, content_type="application/json")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: every error of ours, of DRF's, of Django's and of the database in the one shape."""
    request = context.get("request")
    if isinstance(error, exceptions.APIException):
        return _framework_error(error, request)
    ours = as_ours(error)
    if isinstance(ours, RetrievalError):
        headers = {"Retry-After": "5"} if ours.http_status == 503 else {}
        if ours.http_status == 401:
            headers["WWW-Authenticate"] = "Token"
        found = body(ours.code, ours.message, ours.field, request)
        return _answer(found, ours.http_status, headers)
    # A fault of ours: logged with its request's name, and told to whoever listens, as Django would.
    log.exception("%s", getattr(getattr(request, "_request", None), "request_id", ""))
    got_request_exception.send(sender=None, request=getattr(request, "_request", None))
    return _answer(body("internal_error", FAULT, None, request), 500)
