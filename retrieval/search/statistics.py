"""Keeping what is measured of collections, and knowing when it is to be measured anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from retrieval.models import Collection, Descriptor, Release, Statistic

GROWTH = 0.1
"""Change in the number of images after which a figure is measured anew."""


def images_of(collection: Collection | None, release: Release) -> int:
    """How many pictures of a collection, or of all normal ones, the release has described."""
    rows = Descriptor.objects.filter(release=release, collection__kind="normal")
    return (rows.filter(collection=collection) if collection else rows).count()


def kept(collection: Collection | None, release: Release, name: str) -> Statistic | None:
    """What was measured last."""
    return Statistic.objects.filter(collection=collection, release=release, name=name).first()


def is_due(collection: Collection | None, release: Release, name: str, images: int) -> bool:
    """Whether nothing was measured yet, or the collection has changed by a tenth since."""
    found = kept(collection, release, name)
    return found is None or abs(images - found.images) > GROWTH * found.images


def keep(
    collection: Collection | None,
    release: Release,
    name: str,
    images: int,
    values: Mapping[str, Any],
    sample: bytes = b"",
) -> Statistic:
    """Store a measurement in the place of the one before."""
    return Statistic.objects.update_or_create(
        collection=collection,
        release=release,
        name=name,
        defaults={
            "images": images,
            "values": dict(values),
            "sample": sample,
            "measured_at": timezone.now(),
        },
    )[0]
