"""The one grammar of queries for pages, API and command line; errors name the field and a near name."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval.errors import QueryInvalid
from retrieval.models import Release
from retrieval.search import fields
from retrieval.search.fields import Box, Span
from retrieval.selectors import classes_of

SPACES = ("context", "layout", "composition", "region")
METRICS = ("cosine", "euclidean")
ORIENTATIONS = ("landscape", "portrait", "square")
MAX_LIMIT = 200
MAX_PARTS = 8
"""Most region and box examples of one query: each is a search of its own."""
GRID = 8
REGION_SHARE = 0.5
"""Default weight of region examples where pictures or a painting are asked for as well."""


@dataclass(frozen=True)
class Example:
    """A picture to be like or unlike, and how much; or a part of it.

    Attributes:
        region: number of one segment of the picture, or None.
        box: (x0, y0, x1, y1) as shares of the picture, or None.
        class_index: class that the segment found must have, or None for any.
    """

    image: uuid.UUID
    weight: float = 1.0
    region: int | None = None
    box: Box | None = None
    class_index: int | None = None

    @property
    def is_part(self) -> bool:
        return self.region is not None or self.box is not None


@dataclass(frozen=True)
class ClassRange:
    """Share of a class that a picture must have: min ≤ share ≤ max, both 0..1."""

    index: int
    name: str
    min: float
    max: float


@dataclass(frozen=True)
class Where:
    """Filters on the records.

    Attributes:
        parsed: when a picture was parsed first; what "new since" asks for.
    """

    collections: tuple[int, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    taken: Span = (None, None)
    uploaded: Span = (None, None)
    parsed: Span = (None, None)
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
    cursor: str | None = None
    exact: bool = False

    @property
    def examples(self) -> tuple[Example, ...]:
        return (*self.like, *self.unlike)

    @property
    def has_vectors(self) -> bool:
        return bool(self.like or self.unlike or self.cells)

    def fingerprint(self, release: Release) -> bytes:
        """8 bytes that are equal for pages of the same query."""
        text = repr((release.pk, replace(self, limit=0, cursor=None)))
        return hashlib.sha256(text.encode()).digest()[:8]


def _part(item: Mapping[str, Any], indices: Mapping[str, int], here: str) -> dict[str, Any]:
    """The fields of an example that make it a part of a picture."""
    region, box, name = (item.get(key) for key in ("region", "box", "class"))
    if region is not None and box is not None:
        raise QueryInvalid(f"{here} has a region and a box; give one.", field=f"{here}.box")
    if name is not None and region is None and box is None:
        raise QueryInvalid(
            f"{here}.class limits what a region or box finds; give one of them.",
            field=f"{here}.class",
        )
    found: dict[str, Any] = {}
    if region is not None:
        found["region"] = fields.whole(region, f"{here}.region", 0, 32767)
    if box is not None:
        found["box"] = fields.box(box, f"{here}.box")
    if name is not None:
        found["class_index"] = _class_index(name, indices, f"{here}.class")
    return found


def _class_index(name: Any, indices: Mapping[str, int], here: str) -> int:
    return indices[fields.known(str(name).strip().lower(), indices, here, "class")]


def _examples(value: Any, indices: Mapping[str, int], where: str) -> tuple[Example, ...]:
    found = []
    for position, item in enumerate(fields.items(value, where)):
        here = f"{where}[{position}]"
        item = fields.mapping(item, ("image", "region", "box", "class", "weight"), here)
        found.append(
            Example(
                fields.image_id(item.get("image"), f"{here}.image"),
                fields.number(item.get("weight", 1.0), f"{here}.weight", 0, 100),
                **_part(item, indices, here),
            )
        )
    return tuple(found)


def _classes(value: Any, indices: Mapping[str, int]) -> tuple[ClassRange, ...]:
    found = []
    names = {index: name for name, index in reversed(list(indices.items()))}
    for position, item in enumerate(fields.items(value, "classes")):
        here = f"classes[{position}]"
        item = fields.mapping(item, ("name", "min", "max"), here)
        index = _class_index(item.get("name", ""), indices, f"{here}.name")
        low = fields.number(item.get("min", 0.0), f"{here}.min", 0, 1)
        high = fields.number(item.get("max", 1.0), f"{here}.max", 0, 1)
        if low > high:
            raise QueryInvalid(f"{here}.min is over its max.", field=f"{here}.min")
        found.append(ClassRange(index, names[index], low, high))
    return tuple(found)


def _cells(value: Any, indices: Mapping[str, int]) -> tuple[tuple[int, int, int], ...]:
    value = fields.mapping(value, ("grid", "cells"), "layout")
    if value.get("grid", GRID) != GRID:
        raise QueryInvalid(f"layout.grid must be {GRID}.", field="layout.grid")
    found = []
    for position, cell in enumerate(fields.items(value.get("cells", []), "layout.cells")):
        here = f"layout.cells[{position}]"
        if not isinstance(cell, list) or len(cell) != 3:
            raise QueryInvalid(f"{here} must be [row, column, class].", field=here)
        row, column = (fields.whole(part, here, 0, GRID - 1) for part in cell[:2])
        found.append((row, column, _class_index(cell[2], indices, here)))
    return tuple(dict.fromkeys(found))


def _where(value: Any) -> Where:
    names = ("collections", "tags", "taken", "uploaded", "parsed", "orientation")
    value = fields.mapping(value, names, "where")
    tags = fields.mapping(value.get("tags", {}), ("all", "any", "none"), "where.tags")
    collections = fields.items(value.get("collections", []), "where.collections")
    if not all(isinstance(pk, int) and not isinstance(pk, bool) for pk in collections):
        raise QueryInvalid("where.collections holds ids.", field="where.collections")
    if not all(0 <= pk < 2**63 for pk in collections):
        raise QueryInvalid("where.collections holds ids.", field="where.collections")
    orientation = value.get("orientation")
    if orientation is not None:
        fields.known(orientation, ORIENTATIONS, "where.orientation", "orientation")
    return Where(
        collections=tuple(collections),
        tags_all=_tags(tags.get("all", []), "where.tags.all"),
        tags_any=_tags(tags.get("any", []), "where.tags.any"),
        tags_none=_tags(tags.get("none", []), "where.tags.none"),
        taken=fields.span(value.get("taken", {}), "where.taken"),
        uploaded=fields.span(value.get("uploaded", {}), "where.uploaded"),
        parsed=fields.span(value.get("parsed", {}), "where.parsed"),
        orientation=orientation,
    )


def _tags(value: Any, here: str) -> tuple[str, ...]:
    return tuple(str(name).replace("\0", "") for name in fields.items(value, here))


def _rank(value: Any, default: Mapping[str, float]) -> dict[str, float]:
    value = fields.mapping(value if value is not None else dict(default), SPACES, "rank")
    weights = {
        space: fields.number(value.get(space, 0), f"rank.{space}", 0, 100) for space in SPACES
    }
    total = sum(weights.values())
    if total <= 0:
        raise QueryInvalid("rank needs a weight over 0.", field="rank")
    return {space: weight / total for space, weight in weights.items() if weight > 0}


def _default_rank(release: Release, query: Query) -> Mapping[str, float]:
    """What a query without `rank` is ranked by: what it shows."""
    whole = any(not example.is_part for example in query.examples)
    rank: dict[str, float] = {}
    if whole:
        rank = dict(release.ranking)
    elif query.cells:
        rank = {"layout": 1.0}
    if not any(example.is_part for example in query.examples):
        return rank or release.ranking
    if not rank:
        return {"region": 1.0}
    total = sum(rank.values())
    shares = {space: (1 - REGION_SHARE) * weight / total for space, weight in rank.items()}
    return {**shares, "region": REGION_SHARE}


def class_indices(release: Release) -> dict[str, int]:
    """Index of each class by its English name, and by its Chinese one where that is free."""
    classes = classes_of(release)
    indices = {found.name.lower(): found.index for found in classes}
    for found in classes:
        if found.name_zh:
            indices.setdefault(found.name_zh, found.index)
    return indices


_FIELDS = (
    *("like", "unlike", "layout", "classes", "where", "rank", "metric"),
    *("limit", "cursor", "exact"),
)


def parse(payload: Any, *, release: Release) -> Query:
    """Check a query against the release's classes.

    Raises:
        QueryInvalid: naming the field, and the nearest known name where one was unknown.
    """
    payload = fields.mapping(payload, _FIELDS, "query")
    indices = class_indices(release)
    cursor = payload.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise QueryInvalid("cursor is the text that the page before gave.", field="cursor")
    query = Query(
        like=_examples(payload.get("like", []), indices, "like"),
        unlike=_examples(payload.get("unlike", []), indices, "unlike"),
        cells=_cells(payload.get("layout", {}), indices),
        classes=_classes(payload.get("classes", []), indices),
        where=_where(payload.get("where", {})),
        metric=fields.known(payload.get("metric", "cosine"), METRICS, "metric", "metric"),
        limit=fields.whole(payload.get("limit", 50), "limit", 1, MAX_LIMIT),
        cursor=cursor,
        exact=fields.switch(payload.get("exact", False), "exact"),
    )
    if sum(example.is_part for example in query.examples) > MAX_PARTS:
        raise QueryInvalid(f"At most {MAX_PARTS} regions and boxes go in a query.", field="like")
    return replace(query, rank=_rank(payload.get("rank"), _default_rank(release, query)))
