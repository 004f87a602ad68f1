"""Checking single fields of a query: each error names the field, and a near name where there is one."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from retrieval.errors import QueryInvalid

MAX_ITEMS = 512
Span = tuple[datetime | None, datetime | None]
Box = tuple[float, float, float, float]


def known(name: Any, names: Iterable[str], field: str, what: str) -> str:
    """`name`, when it is one of `names`; QueryInvalid with the nearest of them otherwise."""
    names = list(names)
    if name in names:
        return str(name)
    near = difflib.get_close_matches(str(name), names, 1, 0.4)
    if near:
        raise QueryInvalid(f"There is no {what} {name!r}; did you mean {near[0]!r}?", field=field)
    known = ", ".join(names[:30])
    raise QueryInvalid(f"There is no {what} {name!r}; known are {known}.", field=field)


def mapping(value: Any, names: Iterable[str], field: str) -> dict[str, Any]:
    """An object that has no other keys than `names`."""
    if not isinstance(value, dict):
        raise QueryInvalid(f"{field} must be an object.", field=field)
    for key in value:
        known(key, names, f"{field}.{key}" if field != "query" else key, "field")
    return value


def items(value: Any, field: str) -> list[Any]:
    """A list that is not too long."""
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise QueryInvalid(f"{field} must be a list of at most {MAX_ITEMS}.", field=field)
    return value


def number(value: Any, field: str, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    # `not low <= value` also refuses NaN
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise QueryInvalid(f"{field} must be a number from {low:g} to {high:g}.", field=field)
    return float(value)


def whole(value: Any, field: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    found = number(value, field, low, high)
    if found != int(found):
        raise QueryInvalid(f"{field} must be a whole number.", field=field)
    return int(found)


def switch(value: Any, field: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise QueryInvalid(f"{field} must be true or false.", field=field)
    return value


def image_id(value: Any, field: str) -> uuid.UUID:
    """An image's id."""
    try:
        return uuid.UUID(str(value))
    except ValueError as error:
        raise QueryInvalid(f"{field} must be an image's id.", field=field) from error


def box(value: Any, field: str) -> Box:
    """[x0, y0, x1, y1] as shares of width and height, not empty."""
    if not isinstance(value, list) or len(value) != 4:
        raise QueryInvalid(f"{field} must be [x0, y0, x1, y1].", field=field)
    x0, y0, x1, y1 = (number(part, field, 0, 1) for part in value)
    if x0 >= x1 or y0 >= y1:
        raise QueryInvalid(f"{field} is empty: x0 < x1 and y0 < y1 are needed.", field=field)
    return x0, y0, x1, y1


def _moment(value: Any, field: str) -> datetime | None:
    if value is None:
        return None
    try:
        day = parse_date(str(value))
        moment = parse_datetime(str(value))
        if moment is None and day is not None:
            moment = datetime(day.year, day.month, day.day)
    except ValueError:
        moment = None
    if moment is None:
        raise QueryInvalid(f"{field} must be a date like 2026-01-31.", field=field)
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def span(value: Any, field: str) -> Span:
    """{"from", "to"}: two moments, either may be left out."""
    value = mapping(value, ("from", "to"), field)
    return _moment(value.get("from"), f"{field}.from"), _moment(value.get("to"), f"{field}.to")
