"""Measuring collections anew as they grow: percentiles, recall, charts, duplicates, the map."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from retrieval.models import Collection, Release
from retrieval.search import charts, duplicates, paging, percentiles, recall, statistics
from workers.projection import draw_map

log = logging.getLogger("paysage.worker")

# In this order: duplicates are judged by percentiles.
_OF_COLLECTION: tuple[tuple[str, Callable[[Any, Release], Any]], ...] = (
    ("pairs", percentiles.measure_pairs),
    ("regions", percentiles.measure_regions),
    ("recall", recall.measure),
    ("charts", charts.keep),
    ("duplicates", duplicates.find),
    ("map", draw_map),
)
_OF_ALL = _OF_COLLECTION[:3]


def _measure(collection: Collection | None, release: Release, name: str, images: int) -> bool:
    work = dict(_OF_COLLECTION)[name]
    due = statistics.is_due(collection, release, name, images)
    due = due or (name == "recall" and recall.lacks(collection, release))
    if images < 2 or not due:
        return False
    return work(collection, release) is not None


def refresh(release: Release | None = None) -> list[str]:
    """Measure what is due; what was measured, as `collection:name`."""
    paging.drop_old_pools()
    release = release or Release.objects.filter(state="active").first()
    if release is None:
        return []
    done = []
    targets: list[Collection | None] = [None, *Collection.objects.filter(kind="normal")]
    for collection in targets:
        images = statistics.images_of(collection, release)
        for name, _ in _OF_COLLECTION if collection else _OF_ALL:
            if _measure(collection, release, name, images):
                done.append(f"{collection.pk if collection else 'all'}:{name}")
    if done:
        log.info("measured %s", ", ".join(done))
    return done
