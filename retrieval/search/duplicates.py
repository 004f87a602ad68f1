"""Near-duplicates: pairs of a collection that look nearly the same; what was resolved stays so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from retrieval.errors import FieldInvalid, NotFound
from retrieval.models import Collection, Descriptor, NearDuplicate, Release, Statistic
from retrieval.permissions import require_edit, visible_to
from retrieval.search import sql
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
_BLOCK = 1024

User = Any
Pair = tuple[uuid.UUID, uuid.UUID, float, float]


def _collection_rows(collection: Collection, release: Release) -> QuerySet[Descriptor]:
    return Descriptor.objects.filter(collection=collection, release=release).order_by("image_id")


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
    """Pairs of new pictures with their nearest ones, through the index."""
    space = sql.spaces_of(release)["context"]
    nothing = parse({}, release=release)
    for row in newer.iterator(chunk_size=500):
        where = sql.filters(nothing, release, [collection.pk], [row.image_id])
        text = as_text("context", dense(row, "context"))
        found = sql.candidates(where, space, text, NEIGHBOURS, 2_000)
        for other in Descriptor.objects.filter(image_id__in=found, release=release):
            similarity = float(dense(row, "context") @ dense(other, "context"))
            placed = float(dense(row, "layout") @ dense(other, "layout"))
            if similarity >= CONTEXT and placed >= LAYOUT:
                first, second = sorted((row.image_id, other.image_id))
                yield first, second, similarity, placed


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


def find(collection: Collection, release: Release) -> int:
    """Look for near-duplicates and keep them; how many are open now.

    All pairs of a small collection; of a large one the nearest of each picture that came since.
    Open pairs that are near no longer (after a new release, say) are dropped.
    """
    rows = _collection_rows(collection, release)
    if rows.count() <= settings.EXACT_ROWS:
        near = list(_exact_pairs(list(rows))) if rows else []
        pairs = _above_percentile(collection, release, near)
        kept = {(pair[0], pair[1]) for pair in pairs}
        stale = NearDuplicate.objects.filter(collection=collection, state="open")
        gone = [d.pk for d in stale if (d.first_id, d.second_id) not in kept]
        stale.filter(pk__in=gone).delete()
    else:
        since = Statistic.objects.filter(collection=collection, release=release, name="charts")
        moment = since.values_list("measured_at", flat=True).first()
        newer = rows.filter(image__created_at__gt=moment) if moment else rows
        found = list(dict.fromkeys(_indexed_pairs(collection, release, newer)))
        pairs = _above_percentile(collection, release, found)
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
