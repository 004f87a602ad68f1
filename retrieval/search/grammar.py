"""The one grammar of queries for pages, API and command line: JSON in, a checked `Query` out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from retrieval.errors import QueryInvalid, QueryNotSupported
from retrieval.models import Release
from retrieval.search import fields
from retrieval.selectors import classes_of

SPACES = ("context", "layout", "composition")
METRICS = ("cosine", "euclidean")
ORIENTATIONS = ("landscape", "portrait", "square")
FIELDS = (
    "like", "unlike", "layout", "classes", "where", "rank", "metric", "limit", "cursor", "exact",
)  # fmt: skip
MAX_LIMIT = 200
MAX_EXAMPLES = 64
GRID = 8


@dataclass(frozen=True)
class Example:
    """A picture to be like or unlike, and how much."""

    image: uuid.UUID
    weight: float


@dataclass(frozen=True)
class ClassRange:
    """Share of a class that a picture must have: min ≤ share ≤ max, both 0 to 1."""

    index: int
    name: str
    min: float
    max: float


@dataclass(frozen=True)
class Where:
    """Filters on the records; of collections, none named means all that the user sees."""

    collections: tuple[int, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    taken: tuple[datetime | None, datetime | None] = (None, None)
    uploaded: tuple[datetime | None, datetime | None] = (None, None)
    orientation: str | None = None


@dataclass(frozen=True)
class Query:
    """A checked query; `docs/search.md` describes the JSON that it comes from.

    Attributes:
        release: whose classes and vectors the query speaks of.
        cells: the painted layout, (row, column, class index).
        rank: weight of each space, summing to 1.
        exact: compare all matches one by one, however many there are.
    """

    release: Release
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
    def examples(self) -> tuple[Example, ...]:
        """Those to be like and those to be unlike."""
        return (*self.like, *self.unlike)

    @property
    def has_vectors(self) -> bool:
        """Whether there is something to be near to; otherwise the query is filters alone."""
        return bool(self.examples or self.cells)


def parse(payload: Any, *, release: Release) -> Query:
    """Check a query against the release's classes.

    Raises:
        QueryInvalid: naming the field, and the nearest known name where one was unknown.
        QueryNotSupported: for what the grammar reserves and nothing answers yet.
    """
    given = fields.mapping(payload, FIELDS, "query")
    if "cursor" in given:
        raise QueryNotSupported("Cursors are not offered yet; raise the limit.", field="cursor")
    indices = {found.name: found.index for found in classes_of(release)}
    like, unlike = (_examples(given.get(name, []), name) for name in ("like", "unlike"))
    cells = _cells(given.get("layout", {}), indices)
    query = Query(
        release=release,
        like=like,
        unlike=unlike,
        cells=cells,
        classes=_classes(given.get("classes", []), indices),
        where=_where(given.get("where", {})),
        rank=_rank(given.get("rank"), release, painted_only=bool(cells) and not (like or unlike)),
        metric=fields.known(given.get("metric", "cosine"), METRICS, "metric", "metric"),
        limit=fields.whole(given.get("limit", 50), "limit", 1, MAX_LIMIT),
        exact=fields.switch(given.get("exact", False), "exact"),
    )
    if query.cells and query.metric == "euclidean":
        raise QueryInvalid(
            "A painted layout is compared by what it paints, so by cosine only.", field="metric"
        )
    return query


def _examples(value: Any, where: str) -> tuple[Example, ...]:
    found = []
    for position, item in enumerate(fields.items(value, where, MAX_EXAMPLES)):
        here = f"{where}[{position}]"
        item = fields.mapping(item, ("image", "region", "box", "weight"), here)
        for later in ("region", "box"):
            if later in item:
                message = f"Searching by {later} is not offered yet; leave it out."
                raise QueryNotSupported(message, field=f"{here}.{later}")
        image = fields.image_id(item.get("image"), f"{here}.image")
        found.append(Example(image, fields.number(item.get("weight", 1), f"{here}.weight", 0, 100)))
    if found and not sum(example.weight for example in found):
        raise QueryInvalid(f"{where} needs a weight over 0.", field=f"{where}[0].weight")
    return tuple(found)


def _class(value: Any, indices: Mapping[str, int], where: str) -> str:
    folded = {name.casefold(): name for name in indices}
    given = value if isinstance(value, str) else str(value)
    return fields.known(folded.get(given.casefold(), given), indices, where, "class")


def _classes(value: Any, indices: Mapping[str, int]) -> tuple[ClassRange, ...]:
    found = []
    for position, item in enumerate(fields.items(value, "classes")):
        here = f"classes[{position}]"
        item = fields.mapping(item, ("name", "min", "max"), here)
        name = _class(item.get("name", ""), indices, f"{here}.name")
        low = fields.number(item.get("min", 0), f"{here}.min", 0, 1)
        high = fields.number(item.get("max", 1), f"{here}.max", 0, 1)
        if low > high:
            raise QueryInvalid(f"{here}.min is over its max.", field=f"{here}.min")
        found.append(ClassRange(indices[name], name, low, high))
    return tuple(found)


def _cells(value: Any, indices: Mapping[str, int]) -> tuple[tuple[int, int, int], ...]:
    value = fields.mapping(value, ("grid", "cells"), "layout")
    fields.whole(value.get("grid", GRID), "layout.grid", GRID, GRID)
    found = set()
    for position, cell in enumerate(fields.items(value.get("cells", []), "layout.cells")):
        here = f"layout.cells[{position}]"
        if not isinstance(cell, list) or len(cell) != 3:
            raise QueryInvalid(f"{here} must be [row, column, class].", field=here)
        row, column = (fields.whole(part, here, 0, GRID - 1) for part in cell[:2])
        found.add((row, column, indices[_class(cell[2], indices, here)]))
    return tuple(sorted(found))


def _where(value: Any) -> Where:
    names = ("collections", "tags", "taken", "uploaded", "orientation")
    value = fields.mapping(value, names, "where")
    tags = fields.mapping(value.get("tags", {}), ("all", "any", "none"), "where.tags")
    orientation = value.get("orientation")
    if orientation is not None:
        fields.known(orientation, ORIENTATIONS, "where.orientation", "orientation")
    return Where(
        collections=fields.ids(value.get("collections", []), "where.collections"),
        tags_all=fields.words(tags.get("all", []), "where.tags.all"),
        tags_any=fields.words(tags.get("any", []), "where.tags.any"),
        tags_none=fields.words(tags.get("none", []), "where.tags.none"),
        taken=fields.span(value.get("taken", {}), "where.taken"),
        uploaded=fields.span(value.get("uploaded", {}), "where.uploaded"),
        orientation=orientation,
    )


def _rank(value: Any, release: Release, *, painted_only: bool) -> dict[str, float]:
    """Weights that sum to 1: as given, a space left out weighing nothing, or the release's own.

    A painted layout alone has nothing to compare in the other spaces.
    """
    if value is None:
        value = {"layout": 1.0} if painted_only else release.ranking
    value = fields.mapping(value, SPACES, "rank")
    weights = {
        space: fields.number(value.get(space, 0), f"rank.{space}", 0, 100) for space in SPACES
    }
    for space in SPACES:
        if painted_only and space != "layout" and weights[space]:
            message = f"A painted layout has no {space}; add an example, or rank by layout alone."
            raise QueryInvalid(message, field=f"rank.{space}")
    total = sum(weights.values())
    if total <= 0:
        raise QueryInvalid("rank needs a weight over 0.", field="rank")
    return {space: weight / total for space, weight in weights.items() if weight}
