"""The one grammar of queries for pages, API and command line; errors name the field and a near name."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from retrieval.errors import QueryInvalid
from retrieval.models import Release
from retrieval.selectors import classes_of

SPACES = ("context", "layout", "composition")
METRICS = ("cosine", "euclidean")
MAX_LIMIT = 200
GRID = 8


@dataclass(frozen=True)
class Example:
    """A picture to be like or unlike, and how much."""

    image: uuid.UUID
    weight: float


@dataclass(frozen=True)
class ClassRange:
    """Share of a class that a picture must have: min ≤ share ≤ max, both 0..1."""

    index: int
    name: str
    min: float
    max: float


@dataclass(frozen=True)
class Where:
    """Filters on the records."""

    collections: tuple[int, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    taken: tuple[datetime | None, datetime | None] = (None, None)
    uploaded: tuple[datetime | None, datetime | None] = (None, None)
    orientation: str | None = None


@dataclass(frozen=True)
class Query:
    """A checked query; see `docs/search.md` for the JSON it comes from."""

    like: tuple[Example, ...] = ()
    unlike: tuple[Example, ...] = ()
    cells: tuple[tuple[int, int, int], ...] = ()
    classes: tuple[ClassRange, ...] = ()
    where: Where = field(default_factory=Where)
    rank: Mapping[str, float] = field(default_factory=dict)
    metric: str = "cosine"
    limit: int = 50
    exact: bool = False

    @property
    def has_vectors(self) -> bool:
        return bool(self.like or self.unlike or self.cells)


def _known(name: str, known: Iterable[str], field_name: str, what: str) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, 1, 0.4)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names[:30])}"
    raise QueryInvalid(f"There is no {what} {name!r}{hint}", field=field_name)


def _mapping(value: Any, known: Iterable[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise QueryInvalid(f"{where} must be an object.", field=where)
    for key in value:
        _known(key, known, f"{where}.{key}" if where != "query" else key, "field")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > 512:
        raise QueryInvalid(f"{where} must be a list of at most 512.", field=where)
    return value


def _number(value: Any, where: str, low: float, high: float) -> float:
    # `not low <= value` also refuses NaN
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise QueryInvalid(f"{where} must be a number from {low:g} to {high:g}.", field=where)
    return float(value)


def _examples(value: Any, where: str) -> tuple[Example, ...]:
    found = []
    for position, item in enumerate(_list(value, where)):
        here = f"{where}[{position}]"
        item = _mapping(item, ("image", "region", "box", "weight"), here)
        for later in ("region", "box"):
            if item.get(later) is not None:
                raise QueryInvalid(
                    f"Searching by {later} is not offered yet; leave it out.",
                    field=f"{here}.{later}",
                )
        try:
            image = uuid.UUID(str(item.get("image")))
        except ValueError as error:
            raise QueryInvalid(
                f"{here}.image must be an image's id.", field=f"{here}.image"
            ) from error
        found.append(Example(image, _number(item.get("weight", 1.0), f"{here}.weight", 0, 100)))
    return tuple(found)


def _classes(value: Any, indices: Mapping[str, int]) -> tuple[ClassRange, ...]:
    found = []
    for position, item in enumerate(_list(value, "classes")):
        here = f"classes[{position}]"
        item = _mapping(item, ("name", "min", "max"), here)
        name = str(item.get("name", "")).lower()
        _known(name, indices, f"{here}.name", "class")
        low = _number(item.get("min", 0.0), f"{here}.min", 0, 1)
        high = _number(item.get("max", 1.0), f"{here}.max", 0, 1)
        if low > high:
            raise QueryInvalid(f"{here}.min is over its max.", field=f"{here}.min")
        found.append(ClassRange(indices[name], name, low, high))
    return tuple(found)


def _cells(value: Any, indices: Mapping[str, int]) -> tuple[tuple[int, int, int], ...]:
    value = _mapping(value, ("grid", "cells"), "layout")
    if value.get("grid", GRID) != GRID:
        raise QueryInvalid(f"layout.grid must be {GRID}.", field="layout.grid")
    found = []
    for position, cell in enumerate(_list(value.get("cells", []), "layout.cells")):
        here = f"layout.cells[{position}]"
        if not isinstance(cell, list) or len(cell) != 3:
            raise QueryInvalid(f"{here} must be [row, column, class].", field=here)
        row, column = (int(_number(part, here, 0, GRID - 1)) for part in cell[:2])
        name = str(cell[2]).lower()
        _known(name, indices, here, "class")
        found.append((row, column, indices[name]))
    return tuple(found)


def _moment(value: Any, where: str) -> datetime | None:
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
        raise QueryInvalid(f"{where} must be a date like 2026-01-31.", field=where)
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _span(value: Any, where: str) -> tuple[datetime | None, datetime | None]:
    value = _mapping(value, ("from", "to"), where)
    return _moment(value.get("from"), f"{where}.from"), _moment(value.get("to"), f"{where}.to")


def _where(value: Any) -> Where:
    known = ("collections", "tags", "taken", "uploaded", "orientation")
    value = _mapping(value, known, "where")
    tags = _mapping(value.get("tags", {}), ("all", "any", "none"), "where.tags")
    collections = _list(value.get("collections", []), "where.collections")
    if not all(isinstance(pk, int) and not isinstance(pk, bool) for pk in collections):
        raise QueryInvalid("where.collections holds ids.", field="where.collections")
    orientation = value.get("orientation")
    if orientation is not None:
        _known(orientation, ("landscape", "portrait", "square"), "where.orientation", "orientation")
    names = {
        k: tuple(map(str, _list(tags.get(k, []), f"where.tags.{k}")))
        for k in ("all", "any", "none")
    }
    return Where(
        collections=tuple(collections),
        tags_all=names["all"],
        tags_any=names["any"],
        tags_none=names["none"],
        taken=_span(value.get("taken", {}), "where.taken"),
        uploaded=_span(value.get("uploaded", {}), "where.uploaded"),
        orientation=orientation,
    )


def _rank(value: Any, default: Mapping[str, float]) -> dict[str, float]:
    value = _mapping(value if value is not None else dict(default), SPACES, "rank")
    weights = {space: _number(value.get(space, 0), f"rank.{space}", 0, 100) for space in SPACES}
    total = sum(weights.values())
    if total <= 0:
        raise QueryInvalid("rank needs a weight over 0.", field="rank")
    return {space: weight / total for space, weight in weights.items()}


def parse(payload: Any, *, release: Release) -> Query:
    """Check a query against the release's classes.

    Raises:
        QueryInvalid: naming the field, and the nearest known name where one was unknown.
    """
    known = (
        "like",
        "unlike",
        "layout",
        "classes",
        "where",
        "rank",
        "metric",
        "limit",
        "cursor",
        "exact",
    )
    payload = _mapping(payload, known, "query")
    indices = {found.name: found.index for found in classes_of(release)}
    if payload.get("cursor") is not None:
        raise QueryInvalid("Cursors are not offered yet; raise the limit.", field="cursor")
    metric = payload.get("metric", "cosine")
    _known(metric, METRICS, "metric", "metric")
    cells = _cells(payload.get("layout", {}), indices)
    like = _examples(payload.get("like", []), "like")
    default = {"layout": 1.0} if cells and not like else release.ranking
    return Query(
        like=like,
        unlike=_examples(payload.get("unlike", []), "unlike"),
        cells=cells,
        classes=_classes(payload.get("classes", []), indices),
        where=_where(payload.get("where", {})),
        rank=_rank(payload.get("rank"), default),
        metric=metric,
        limit=int(_number(payload.get("limit", 50), "limit", 1, MAX_LIMIT)),
        exact=payload.get("exact", False) is True,
    )
