"""What a gallery shows: a collection's pictures, filtered, sorted, page by page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.utils.dateparse import parse_date, parse_datetime

from retrieval.errors import FieldInvalid
from retrieval.models import (
    Analysis,
    ClassArea,
    Collection,
    Image,
    ImageTag,
    Release,
    SemanticClass,
)

SORTS = ("newest", "oldest", "taken", "title", "area")
MAX_PAGE = 200


@dataclass(frozen=True)
class Filter:
    """What is asked of a gallery; everything is optional.

    Attributes:
        text: part of the title, any case.
        tags: all of which a picture must carry.
        class_name, low, high: share of a class, 0..1.
        state: of the analysis by the active release.
        since, until: of the upload; taken_since, taken_until: of the photograph.
        sort: one of `SORTS`; "area" is of `class_name`, largest first.
    """

    text: str = ""
    tags: tuple[str, ...] = ()
    class_name: str = ""
    low: float = 0.0
    high: float = 1.0
    state: str = ""
    since: datetime | None = None
    until: datetime | None = None
    taken_since: datetime | None = None
    taken_until: datetime | None = None
    sort: str = "newest"

    @property
    def empty(self) -> bool:
        """Whether it lets every picture through."""
        return self == Filter(sort=self.sort)


@dataclass(frozen=True)
class Page:
    """Pictures with `state`, the state of their analysis, as an attribute; cursors or None."""

    images: list[Image] = field(default_factory=list)
    next: str | None = None


# --- reading what was asked ------------------------------------------------------------------------


def _share(values: Mapping[str, Any], key: str, default: float) -> float:
    text = str(values.get(key) or "").strip().rstrip("%")
    if not text:
        return default
    try:
        share = float(text) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise FieldInvalid(f"{key} is a share in percent, 0 to 100.", field=key)
    return share


def _moment(values: Mapping[str, Any], key: str, end: bool = False) -> datetime | None:
    text = str(values.get(key) or "").strip()
    if not text:
        return None
    try:
        moment, day = parse_datetime(text), parse_date(text)
    except ValueError:
        moment = day = None
    if day is not None and len(text) <= 10:
        return datetime.combine(day, time.max if end else time.min, UTC)
    if moment is None:
        raise FieldInvalid(f"{key} is a date such as 2026-05-31.", field=key)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_filter(values: Any) -> Filter:
    """The filter that a query string (QueryDict) or a mapping asks for; shares are in percent.

    Raises:
        FieldInvalid: a value that cannot be; names its field.
    """
    tags = values.getlist("tag") if hasattr(values, "getlist") else values.get("tag") or ()
    if isinstance(tags, str):
        tags = [tags]
    state, sort = str(values.get("state") or ""), str(values.get("sort") or "newest")
    if state and state not in Analysis.State.values:
        raise FieldInvalid(f"state is one of {', '.join(Analysis.State.values)}.", field="state")
    if sort not in SORTS:
        raise FieldInvalid(f"sort is one of {', '.join(SORTS)}.", field="sort")
    found = Filter(
        text=str(values.get("text") or "").strip()[:200],
        tags=tuple(dict.fromkeys(str(tag).strip() for tag in tags if str(tag).strip())),
        class_name=str(values.get("class") or ""),
        low=_share(values, "min", 0.0),
        high=_share(values, "max", 1.0),
        state=state,
        since=_moment(values, "since"),
        until=_moment(values, "until", end=True),
        taken_since=_moment(values, "taken_since"),
        taken_until=_moment(values, "taken_until", end=True),
        sort=sort,
    )
    if found.sort == "area" and not found.class_name:
        raise FieldInvalid("Sorting by area needs a class.", field="class")
    return found


# --- asking the database ---------------------------------------------------------------------------


def _areas(release: Release | None, class_name: str) -> QuerySet[ClassArea]:
    index = (
        SemanticClass.objects.filter(release=release, name=class_name)
        .values_list("index", flat=True)
        .first()
    )
    if index is None:
        raise FieldInvalid(f"The active release has no class {class_name!r}.", field="class")
    return ClassArea.objects.filter(release=release, class_index=index)


Where = Collection | QuerySet[Collection]


def _within(where: Where) -> Any:
    return [where.pk] if isinstance(where, Collection) else where.values("pk")


def filtered(where: Where, asked: Filter) -> QuerySet[Image]:
    """Pictures that pass the filter, in no order, with `area` where a class is named.

    Args:
        where: the collection, or several.
    """
    release = Release.objects.filter(state="active").first()
    within = _within(where)
    images = Image.objects.filter(collection__in=within)
    if asked.text:
        images = images.filter(title__icontains=asked.text)
    for tag in asked.tags:
        images = images.filter(pk__in=_tagged(within, tag))
    for column, low, high in (
        ("created_at", asked.since, asked.until),
        ("taken_at", asked.taken_since, asked.taken_until),
    ):
        if low:
            images = images.filter(**{f"{column}__gte": low})
        if high:
            images = images.filter(**{f"{column}__lte": high})
    if asked.class_name:
        images = _with_area(images, within, release, asked)
    if asked.state:
        analyses = Analysis.objects.filter(
            collection__in=within, release=release, state=asked.state
        )
        images = images.filter(pk__in=analyses.values("image"))
    return images


def _tagged(within: Any, tag: str) -> Any:
    return ImageTag.objects.filter(tag__collection__in=within, tag__name=tag).values("image")


def _with_area(
    images: QuerySet[Image], collections: Any, release: Release | None, asked: Filter
) -> QuerySet[Image]:
    areas = _areas(release, asked.class_name)
    mine = areas.filter(image=OuterRef("pk")).values("fraction")[:1]
    images = images.annotate(area=Subquery(mine))
    shares = Q(area__gte=asked.low, area__lte=asked.high)
    if asked.low == 0 and asked.sort != "area":  # classes that do not occur have no row
        parsed = Analysis.objects.filter(collection__in=collections, release=release, state="done")
        return images.filter(shares | Q(area=None, pk__in=parsed.values("image")))
    return images.filter(shares)


_ORDER: dict[str, tuple[str, bool]] = {
    "newest": ("id", True),
    "oldest": ("id", False),
    "taken": ("taken_at", True),
    "title": ("title", False),
    "area": ("area", True),
}


def _encode(image: Image, column: str) -> str:
    value = getattr(image, column)
    if isinstance(value, datetime):
        value = value.isoformat()
    text = json.dumps([str(image.pk), value if column != "id" else None])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[str, Any]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        pk, value = json.loads(text)
        return str(pk), value
    except (ValueError, TypeError) as error:
        raise FieldInvalid("This is no cursor that a page gave.", field="after") from error


def _after(images: QuerySet[Image], cursor: str, column: str, falling: bool) -> QuerySet[Image]:
    """Rows beyond the cursor's: by the column, then by id."""
    pk, value = _decode(cursor)
    way = "lt" if falling else "gt"
    try:
        if column == "id":
            return images.filter(**{f"pk__{way}": pk})
        same = Q(**{f"pk__{way}": pk})
        if value is None:  # pictures without a date come last
            return images.filter(same, **{f"{column}__isnull": True})
        beyond = Q(**{f"{column}__{way}": value}) | (Q(**{column: value}) & same)
        if column == "taken_at":
            beyond |= Q(taken_at=None)
        return images.filter(beyond)
    except (ValueError, TypeError, ValidationError) as error:
        raise FieldInvalid("This is no cursor that a page gave.", field="after") from error


def gallery_page(where: Where, asked: Filter, after: str | None = None, limit: int = 60) -> Page:
    """One page of a collection, or of several, in the order asked for.

    Args:
        after: the `next` of the page before.
        limit: 1 to `MAX_PAGE`, clamped.
    """
    limit = max(1, min(MAX_PAGE, limit))
    column, falling = _ORDER[asked.sort]
    images = filtered(where, asked)
    if after:
        images = _after(images, after, column, falling)
    ties = "-id" if falling else "id"
    order: list[Any] = [ties]
    if column != "id":
        order.insert(0, F(column).desc(nulls_last=True) if falling else F(column).asc())
    rows = list(images.order_by(*order)[: limit + 1])
    shown = rows[:limit]
    add_states(shown)
    return Page(shown, _encode(shown[-1], column) if len(rows) > limit else None)


def add_states(images: Sequence[Image]) -> None:
    """Set `state` of each picture: that of its analysis by the active release, or ""."""
    states = dict(
        Analysis.objects.filter(image__in=images, release__state="active").values_list(
            "image_id", "state"
        )
    )
    for image in images:
        image.state = states.get(image.pk, "")  # type: ignore[attr-defined]
