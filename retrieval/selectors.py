"""All reads that pages, API and commands share; each takes the user."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet
from django.utils import timezone

from retrieval.errors import NotFound
from retrieval.models import Analysis, ClassArea, Collection, Image, Region, Release, SemanticClass
from retrieval.permissions import visible_to

User = Any


def collections_for(user: User) -> QuerySet[Collection]:
    """Visible collections of kind normal, by name."""
    return visible_to(user).filter(kind="normal").order_by("name", "id")


def collection_for(user: User, pk: int) -> Collection:
    """NotFound for what does not exist and what is not the user's to see, alike."""
    found = collections_for(user).filter(pk=pk).first()
    if found is None:
        raise NotFound("There is no such collection.")
    return found


def images_for(user: User) -> QuerySet[Image]:
    """All images the user may see, newest first, the own query pictures included."""
    return (
        Image.objects.filter(collection__in=visible_to(user))
        .select_related("collection")
        .order_by("-id")
    )


def image_for(user: User, pk: uuid.UUID | str) -> Image:
    """NotFound as `collection_for`."""
    try:
        found = (
            images_for(user).filter(pk=pk if isinstance(pk, uuid.UUID) else uuid.UUID(pk)).first()
        )
    except ValueError:
        found = None
    if found is None:
        raise NotFound("There is no such image.")
    return found


def analysis_of(image: Image) -> Analysis | None:
    """The image's analysis by the active release."""
    return Analysis.objects.filter(image=image, release__state="active").first()


@dataclass(frozen=True)
class Progress:
    """How far the parsing of a collection is.

    Attributes:
        total, done, waiting, refused: numbers of images; `waiting` counts queued and running ones,
            `refused` those rejected, failed or quarantined.
        per_minute: pictures parsed in the last minute.
        remaining_s: expected seconds, None while nothing was parsed lately.
    """

    total: int
    done: int
    waiting: int
    refused: int
    per_minute: int

    @property
    def remaining_s(self) -> int | None:
        return round(60 * self.waiting / self.per_minute) if self.per_minute else None

    @property
    def percent(self) -> int:
        return round(100 * (self.total - self.waiting) / self.total) if self.total else 100


def progress_of_all(collections: Sequence[Collection]) -> dict[int, Progress]:
    """Progress of each collection by id, in one query."""
    lately = timezone.now() - timedelta(minutes=1)
    rows = (
        Analysis.objects.filter(collection__in=collections, release__state="active")
        .values("collection_id")
        .annotate(
            total=Count("id"),
            done=Count("id", filter=Q(state="done")),
            waiting=Count("id", filter=Q(state__in=("queued", "running"))),
            per_minute=Count("id", filter=Q(state="done", finished_at__gt=lately)),
        )
    )
    found = {one.pk: Progress(0, 0, 0, 0, 0) for one in collections}
    for row in rows:
        total, done, waiting = row["total"], row["done"], row["waiting"]
        refused = total - done - waiting
        found[row["collection_id"]] = Progress(total, done, waiting, refused, row["per_minute"])
    return found


def progress_of(collection: Collection) -> Progress:
    """State counts of the active release."""
    return progress_of_all([collection])[collection.pk]


def covers_of(collections: Sequence[Collection], most: int = 4) -> dict[int, list[Image]]:
    """The newest parsed pictures of each collection by id, through one index scan each."""
    newest = (
        Image.objects.filter(collection=OuterRef("pk")).exclude(thumb_256="").order_by("-id")
    ).values("pk")[:most]
    ids = Collection.objects.filter(pk__in=[c.pk for c in collections]).values_list(
        "pk", ArraySubquery(newest)
    )
    wanted = dict(ids)
    images = Image.objects.in_bulk([pk for some in wanted.values() for pk in some])
    return {pk: [images[one] for one in some if one in images] for pk, some in wanted.items()}


def classes_of(release: Release) -> list[SemanticClass]:
    """Classes by index."""
    return list(SemanticClass.objects.filter(release=release).order_by("index"))


def areas_of(image: Image, release: Release) -> list[tuple[SemanticClass, float]]:
    """Classes of an image with their shares, largest first."""
    classes = {found.index: found for found in classes_of(release)}
    rows = ClassArea.objects.filter(image=image, release=release).order_by("-fraction")
    return [(classes[row.class_index], row.fraction) for row in rows]


def regions_of(image: Image, release: Release) -> QuerySet[Region]:
    """Regions by falling area, the rest last."""
    return Region.objects.filter(image=image, release=release).order_by("number")
