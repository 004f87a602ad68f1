"""Near-duplicates: pairs of a collection that look nearly the same; what was resolved stays so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from retrieval.errors import FieldInvalid, NotFound
from retrieval.models import Analysis, Collection, Descriptor, NearDuplicate, Release, Statistic
from retrieval.permissions import require_edit, visible_to
from retrieval.search import sql, statistics
from retrieval.search.grammar import parse
from retrieval.search.percentiles import percentile, samples_for
from retrieval.search.vectors import as_text, dense

CONTEXT = 0.85
LAYOUT = 0.80
"""Least similarities of a pair; chosen in docs/search.md on pictures that were cropped, shrunk and
recompressed, against the nearest pairs of different pictures."""
PERCENTILE = 99.9
"""Both similarities must also lie above this share of the collection's random pairs."""
NEIGHBOURS = 5
OVERLAP = timedelta(minutes=10)
"""A look begins this long before the last one began: an analysis bears the time at which it ended, and
is seen when its worker has stored it, a moment later."""
_BLOCK = 1024

User = Any
Pair = tuple[uuid.UUID, uuid.UUID, float, float]


def _collection_rows(collection: Collection, release: Release) -> QuerySet[Descriptor]:
    return Descriptor.objects.filter(collection=collection, release=release).order_by("image_id")


def _near(one: Descriptor, other: Descriptor) -> list[Pair]:
    """The two as a pair, or nothing where they are not near."""
    context = float(dense(one, "context") @ dense(other, "context"))
    layout = float(dense(one, "layout") @ dense(other, "layout"))
    if context < CONTEXT or layout < LAYOUT:
        return []
    first, second = sorted((one.image_id, other.image_id))
    return [(first, second, context, layout)]


def _exact_pairs(rows: Sequence[Descriptor]) -> Iterator[Pair]:
    """All pairs, block by block; layouts are only compared where contexts are near."""
    context = np.stack([dense(row, "context") for row in rows]).astype(np.float32)
    for start in range(0, len(rows), _BLOCK):
        near = np.triu(context[start : start + _BLOCK] @ context.T, start + 1)
        for first, second in np.argwhere(near >= CONTEXT).tolist():
            one, two = rows[start + first], rows[second]
            placed = float(dense(one, "layout") @ dense(two, "layout"))
            if placed >= LAYOUT:
                yield one.image_id, two.image_id, float(near[first, second]), placed


def _indexed_pairs(
    collection: Collection, release: Release, newer: QuerySet[Descriptor]
) -> Iterator[Pair]:
    """Pairs of these pictures with their nearest ones, through the index."""
    space = sql.spaces_of(release)["context"]
    nothing = parse({}, release=release)
    for row in newer.iterator(chunk_size=500):
        where = sql.filters(nothing, release, [collection.pk], [row.image_id])
        text = as_text("context", dense(row, "context"))
        found = [image for image, _ in sql.candidates(where, space, text, NEIGHBOURS, 2_000)]
        for other in Descriptor.objects.filter(image_id__in=found, release=release):
            yield from _near(row, other)


def _above_percentile(collection: Collection, release: Release, pairs: list[Pair]) -> list[Pair]:
    """Pairs whose two similarities are both rare among the collection's random pairs."""
    samples = samples_for([collection.pk], release, "pairs")
    place = samples.get(collection.pk) or samples.get(None)
    if place is None:
        return pairs
    return [
        pair
        for pair in pairs
        if percentile(place, 3, (1, 0, 0), pair[2], "cosine") >= PERCENTILE
        and percentile(place, 3, (0, 1, 0), pair[3], "cosine") >= PERCENTILE
    ]


def _newer(rows: QuerySet[Descriptor], release: Release, kept: Statistic | None) -> Any:
    """Those whose analysis ended since the last look; all where nobody looked yet.

    When a picture was uploaded says nothing: it may have waited for its analysis through a look.
    """
    if kept is None:
        return rows
    moment = datetime.fromisoformat(kept.values["until"])
    ended = Analysis.objects.filter(
        image=OuterRef("image_id"), release=release, state="done", finished_at__gt=moment
    )
    return rows.filter(Exists(ended))


def _open_pairs(collection: Collection, rows: QuerySet[Descriptor]) -> list[Pair]:
    """The open pairs of a collection as they are now, without those that are near no longer."""
    found = []
    pairs = NearDuplicate.objects.filter(collection=collection, state="open")
    ids = list(pairs.values_list("first_id", "second_id"))
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        images = {image for pair in block for image in pair}
        stored = {row.image_id: row for row in rows.filter(image_id__in=images)}
        for first, second in block:
            if first in stored and second in stored:
                found += _near(stored[first], stored[second])
    return found


def _drop_stale(collection: Collection, pairs: Sequence[Pair]) -> None:
    """Drop the open pairs that are not among these."""
    kept = {(pair[0], pair[1]) for pair in pairs}
    stale = NearDuplicate.objects.filter(collection=collection, state="open")
    gone = [
        pk
        for pk, *ids in stale.values_list("pk", "first_id", "second_id")
        if tuple(ids) not in kept
    ]
    stale.filter(pk__in=gone).delete()


def find(collection: Collection, release: Release) -> int:
    """Look for near-duplicates and keep them; how many are open now.

    All pairs of a small collection; of a large one the open pairs anew, and the nearest of each picture
    whose analysis ended since the last look. Open pairs that are near no longer (after a new release,
    say) are dropped.
    """
    rows = _collection_rows(collection, release)
    images = rows.count()
    until = timezone.now() - OVERLAP
    if images <= settings.EXACT_ROWS:
        near = list(_exact_pairs(list(rows))) if images else []
    else:
        newer = _newer(rows, release, statistics.kept(collection, release, "duplicates"))
        near = [*_open_pairs(collection, rows), *_indexed_pairs(collection, release, newer)]
        near = list({pair[:2]: pair for pair in near}.values())
    pairs = _above_percentile(collection, release, near)
    _drop_stale(collection, pairs)
    NearDuplicate.objects.bulk_create(
        [
            NearDuplicate(
                collection=collection, first_id=a, second_id=b, context=context, layout=layout
            )
            for a, b, context, layout in pairs
        ],
        update_conflicts=True,
        unique_fields=("first", "second"),
        update_fields=("context", "layout"),  # what a person said of a pair is not touched
    )
    statistics.keep(collection, release, "duplicates", images, {"until": until.isoformat()})
    return NearDuplicate.objects.filter(collection=collection, state="open").count()


# --- the view of them --------------------------------------------------------------------------


def pairs_for(user: User, collection: Collection, state: str = "open") -> QuerySet[NearDuplicate]:
    """Pairs of a visible collection, most alike first."""
    if state not in NearDuplicate.State.values:
        raise FieldInvalid("state is open, duplicate or different.", field="state")
    return (
        NearDuplicate.objects.filter(
            collection=collection, collection__in=visible_to(user), state=state
        )
        .select_related("first", "second")
        .order_by("-context", "id")
    )


def resolve(user: User, pk: int, state: str) -> NearDuplicate:
    """Say what a pair is, or open it again; who may change the collection may."""
    pair = (
        NearDuplicate.objects.filter(pk=pk, collection__in=visible_to(user))
        .select_related("collection", "first", "second")
        .first()
    )
    if pair is None:
        raise NotFound("There is no such pair.")
    require_edit(user, pair.collection)
    if state not in NearDuplicate.State.values:
        raise FieldInvalid("state is open, duplicate or different.", field="state")
    pair.state = state
    pair.resolved_by = user if state != "open" else None
    pair.resolved_at = timezone.now() if state != "open" else None
    pair.save(update_fields=("state", "resolved_by", "resolved_at"))
    return pair
