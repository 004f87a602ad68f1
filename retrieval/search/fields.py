"""Checks of single JSON values; each error names the field, and a near name where one was unknown."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, time
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime

from retrieval.errors import QueryInvalid

MAX_ITEMS = 512
_LARGEST_ID = 2**63 - 1
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def known(name: str, names: Iterable[str], where: str, what: str) -> str:
    """`name` if it is one of `names`; else QueryInvalid with the nearest of them."""
    names = list(names)
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name).lower(), names, 1, 0.4)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(names[:30])}."
    raise QueryInvalid(f"There is no {what} {str(name)[:80]!r}. {hint}", field=where)


def mapping(value: Any, names: Iterable[str], where: str) -> dict[str, Any]:
    """An object with no other fields than `names`; fields that are null count as left out."""
    if not isinstance(value, dict):
        raise QueryInvalid(f"{where} must be an object.", field=where)
    for key in value:
        known(key, names, key if where == "query" else f"{where}.{key}", "field")
    return {key: given for key, given in value.items() if given is not None}


def items(value: Any, where: str, most: int = MAX_ITEMS) -> list[Any]:
    """A list of at most `most`."""
    if not isinstance(value, list) or len(value) > most:
        raise QueryInvalid(f"{where} must be a list of at most {most}.", field=where)
    return value


def number(value: Any, where: str, low: float, high: float) -> float:
    """A number with low ≤ value ≤ high; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise QueryInvalid(f"{where} must be a number from {low:g} to {high:g}.", field=where)
    return float(value)


def whole(value: Any, where: str, low: int, high: int) -> int:
    """A whole number with low ≤ value ≤ high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise QueryInvalid(f"{where} must be a whole number from {low} to {high}.", field=where)
    return value


def switch(value: Any, where: str) -> bool:
    """true or false, and nothing like them."""
    if not isinstance(value, bool):
        raise QueryInvalid(f"{where} must be true or false.", field=where)
    return value


def words(value: Any, where: str) -> tuple[str, ...]:
    """Strings that the database can hold: 1 to 80 characters, no NUL, no half of a pair."""
    found = items(value, where, 64)
    for word in found:
        if not isinstance(word, str) or not 0 < len(word) <= 80 or not _storable(word):
            raise QueryInvalid(f"{where} must hold words of 1 to 80 characters.", field=where)
    return tuple(found)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def ids(value: Any, where: str) -> tuple[int, ...]:
    """Numbers of rows."""
    return tuple(whole(pk, where, 1, _LARGEST_ID) for pk in items(value, where))


def image_id(value: Any, where: str) -> uuid.UUID:
    """An image's id."""
    try:
        return uuid.UUID(str(value))
    except ValueError as error:
        raise QueryInvalid(f"{where} must be an image's id.", field=where) from error


def _moment(value: Any, where: str, at: time) -> datetime | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else ""
    try:
        day = parse_date(text) if _DAY.fullmatch(text) else None
        moment = datetime.combine(day, at) if day else parse_datetime(text)
    except ValueError:  # the form of a date, but no such day
        moment = None
    if moment is None or not 1 < moment.year < 9999:
        raise QueryInvalid(f"{where} must be a date like 2026-01-31.", field=where)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(value: Any, where: str) -> tuple[datetime | None, datetime | None]:
    """{"from", "to"}: days, both included, or moments; UTC unless they say otherwise."""
    value = mapping(value, ("from", "to"), where)
    first = _moment(value.get("from"), f"{where}.from", time.min)
    last = _moment(value.get("to"), f"{where}.to", time.max)
    if first and last and first > last:
        raise QueryInvalid(f"{where}.from is after its to.", field=f"{where}.from")
    return first, last
