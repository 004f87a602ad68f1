"""What all endpoints share: reading a request's fields, pages by cursor, sparse fields, ETags."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, Q, QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from retrieval.errors import FieldInvalid, PreconditionFailed

PAGE, MAX_PAGE = 100, 200
_LARGEST_ID = 2**63 - 1
Row = TypeVar("Row", bound=Model)

LIMIT = OpenApiParameter("limit", int, description=f"Rows a page: 1 to {MAX_PAGE}, clamped.")
CURSOR = OpenApiParameter("cursor", str, description="The `next` of the page before.")
FIELDS = OpenApiParameter("fields", str, description="Only these fields, by comma.")
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An ETag; 304 while it holds."
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="An ETag; 412 when it holds no more."
)


# --- fields of a request -----------------------------------------------------------------------


def form_of(request: Request) -> Mapping[str, Any]:
    """The body's fields; FieldInvalid when it is no object."""
    if not isinstance(request.data, Mapping):
        raise FieldInvalid("The body must be an object of fields.")
    return request.data


def known(values: Iterable[str], allowed: Iterable[str]) -> None:
    """FieldInvalid for a field that the endpoint does not have, as a misspelt one does nothing."""
    for name in sorted(set(values) - set(allowed)):
        raise FieldInvalid(f"There is no field {name!r} here.", field=name)


def id_of(value: Any, field: str) -> int:
    """The id of a row; FieldInvalid when it is none."""
    try:
        found = int(str(value))
    except (TypeError, ValueError) as error:
        raise FieldInvalid(f"{field} must be an id.", field=field) from error
    if isinstance(value, bool) or not 0 <= found <= _LARGEST_ID:
        raise FieldInvalid(f"{field} must be an id.", field=field)
    return found


def text_of(values: Mapping[str, Any], field: str, most: int, least: int = 1) -> str:
    """A text field without spaces around it; FieldInvalid by length or kind."""
    value = values.get(field, "")
    if not isinstance(value, str) or not least <= len(value.strip()) <= most or "\0" in value:
        raise FieldInvalid(f"{field} is a text of {least} to {most} characters.", field=field)
    return value.strip()


def choice_of(values: Mapping[str, Any], field: str, allowed: Sequence[str]) -> str:
    """One of a few words; FieldInvalid otherwise."""
    value = values.get(field)
    if value not in allowed:
        raise FieldInvalid(f"{field} is one of {', '.join(allowed)}.", field=field)
    return str(value)


def names_of(values: Mapping[str, Any], field: str) -> list[str]:
    """A list of texts, empty where the field is absent."""
    found = values.get(field) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise FieldInvalid(f"{field} is a list of texts.", field=field)
    return found


def flag_of(request: Request, name: str) -> bool:
    """A yes or no in the address: 1, true, 0, false; no where it is absent."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("1", "true", "0", "false"):
        raise FieldInvalid(f"{name} is true or false.", field=name)
    return text in ("1", "true")


def limit_of(request: Request, default: int = PAGE) -> int:
    """Rows a page: clamped to 1..MAX_PAGE."""
    try:
        return max(1, min(MAX_PAGE, int(request.query_params.get("limit", default))))
    except ValueError as error:
        raise FieldInvalid("limit is a whole number.", field="limit") from error


# --- pages -------------------------------------------------------------------------------------


def _encode(values: Sequence[Any]) -> str:
    text = json.dumps(values, cls=DjangoJSONEncoder)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, length: int) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(values, list) and len(values) == length:
            return values
    except ValueError:
        pass
    raise FieldInvalid("This is no cursor that a page gave.", field="cursor")


def _beyond(columns: Sequence[str], values: Sequence[Any]) -> Q:
    """Rows after the one with these values, in the order of the columns ("-" for falling)."""
    found = Q()
    for position, column in enumerate(columns):
        way = "lt" if column.startswith("-") else "gt"
        same = dict(zip(columns[:position], values[:position], strict=True))
        keys = {name.lstrip("-"): value for name, value in same.items()}
        found |= Q(**keys, **{f"{column.lstrip('-')}__{way}": values[position]})
    return found


def page_of(
    rows: QuerySet[Row],
    request: Request,
    columns: Sequence[str],
    shape: Callable[[list[Row]], list[dict[str, Any]]],
) -> dict[str, Any]:
    """`{"results": [...], "next": cursor or None}` of one page.

    Args:
        columns: the order, its last column unique; "-" before those that fall.
        shape: from rows to what is answered.
    """
    limit = limit_of(request)
    if cursor := request.query_params.get("cursor"):
        try:
            rows = rows.filter(_beyond(columns, _decode(cursor, len(columns))))
        except (ValueError, TypeError, ValidationError) as error:
            raise FieldInvalid("This is no cursor that a page gave.", field="cursor") from error
    found = list(rows.order_by(*columns)[: limit + 1])
    shown = found[:limit]
    more = len(found) > limit
    last = [getattr(shown[-1], name.lstrip("-")) for name in columns] if more else []
    return {"results": shape(shown), "next": _encode(last) if more else None}


# --- sparse fields and conditional requests ----------------------------------------------------


def sparse(request: Request, allowed: Iterable[str]) -> set[str] | None:
    """Fields that `?fields=` asks for; None for all."""
    text = request.query_params.get("fields")
    if text is None:
        return None
    wanted, names = {part.strip() for part in text.split(",")}, list(allowed)
    for name in sorted(wanted - set(names)):
        raise FieldInvalid(
            f"There is no field {name!r}; there are {', '.join(names)}.", field="fields"
        )
    return wanted


def only(body: dict[str, Any], wanted: set[str] | None) -> dict[str, Any]:
    """The body's fields that were asked for."""
    return body if wanted is None else {k: v for k, v in body.items() if k in wanted}


def etag_of(body: Any) -> str:
    """A strong ETag of what is answered: JSON values or bytes."""
    if not isinstance(body, bytes):
        body = json.dumps(body, sort_keys=True, cls=JSONEncoder).encode()
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _names(header: str, etag: str) -> bool:
    given = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in given or etag in given


def unchanged(request: Request, etag: str) -> HttpResponse | None:
    """304 when the caller has this version already."""
    if _names(request.headers.get("If-None-Match", ""), etag):
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        return HttpResponse(status=304, headers=headers)
    return None


def conditional(request: Request, body: dict[str, Any]) -> HttpResponse:
    """The body with its ETag, or 304."""
    return unchanged(request, etag_of(body)) or with_etag(body)


def with_etag(body: dict[str, Any]) -> Response:
    """The body with its ETag, for caches that ask each time."""
    return Response(body, headers={"ETag": etag_of(body), "Cache-Control": "private, no-cache"})


def require_match(request: Request, body: dict[str, Any]) -> None:
    """PreconditionFailed when If-Match names another version than `body`."""
    header = request.headers.get("If-Match")
    if header is not None and not _names(header, etag_of(body)):
        raise PreconditionFailed("It was changed meanwhile; read it again before changing it.")
