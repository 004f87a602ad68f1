"""Scores people can read: how many of a collection's random pairs are less alike.

A raw similarity means something else for every release and collection. So a sample of random pairs is
kept for each, with the similarities of one pair in all spaces side by side: any weighted score can be
placed among the sample's weighted scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.models import Collection, Descriptor, Region, Release, Statistic
from retrieval.search import statistics
from retrieval.search.vectors import dense, numbers

PAIRS = 20_000
IMAGES = 1_500
"""Most pictures that the pairs are made of."""
LEAST_IMAGES = 20
"""A collection with fewer is placed among all collections' pairs."""
SPACES = ("context", "layout", "composition")

Floats = NDArray[np.float32]


def _random_descriptors(collection: Collection | None, release: Release) -> list[Descriptor]:
    rows = Descriptor.objects.filter(release=release, collection__kind="normal")
    rows = rows.filter(collection=collection) if collection else rows
    return list(rows.order_by("?")[:IMAGES])


def random_pairs(count: int, most: int, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of distinct pictures: all pairs when there are at most `most`, else that many."""
    first, second = np.triu_indices(count, 1) if count < 300 else (np.zeros(0, int),) * 2
    if count < 300 and len(first) <= most:
        return first, second
    rng = np.random.default_rng(seed)
    first = rng.integers(0, count, most)
    second = (first + rng.integers(1, count, most)) % count
    return first, second


def measure_pairs(collection: Collection | None, release: Release) -> Statistic | None:
    """Similarities of random pairs, kept as float16 (P, 3); None with fewer than two pictures."""
    rows = _random_descriptors(collection, release)
    if len(rows) < 2:
        return None
    first, second = random_pairs(len(rows), PAIRS)
    columns = []
    for space in SPACES:
        matrix = np.stack([dense(row, space) for row in rows]).astype(np.float32)
        columns.append(np.einsum("pd,pd->p", matrix[first], matrix[second]))
    sample = np.stack(columns, axis=1).astype("<f2")
    values = {
        space: [round(float(v), 4) for v in np.percentile(sample[:, i], (1, 25, 50, 75, 99))]
        for i, space in enumerate(SPACES)
    }
    images = statistics.images_of(collection, release)
    return statistics.keep(collection, release, "pairs", images, values, sample.tobytes())


def measure_regions(
    collection: Collection | None, release: Release, regions: int = 200, images: int = 100
) -> Statistic | None:
    """Similarity of random regions to the best region of random other pictures, float16 (P, 1)."""
    rows = Region.objects.filter(
        release=release, class_index__isnull=False, collection__kind="normal"
    )
    rows = rows.filter(collection=collection) if collection else rows
    chosen = list(rows.order_by("?")[:regions])
    pictures = [row.image_id for row in _random_descriptors(collection, release)[:images]]
    others = list(rows.filter(image_id__in=pictures).order_by("image_id"))
    if not chosen or len(pictures) < 2:
        return None
    similarity = np.stack([numbers(r.vector) for r in chosen]) @ (
        np.stack([numbers(r.vector) for r in others]).T
    )
    owners, starts = np.unique([r.image_id.hex for r in others], return_index=True)
    best = np.maximum.reduceat(similarity, starts, axis=1)
    elsewhere = np.array([r.image_id.hex for r in chosen])[:, None] != owners[None, :]
    sample = best[elsewhere].astype("<f2")
    count = statistics.images_of(collection, release)
    return statistics.keep(collection, release, "regions", count, {}, sample.tobytes())


# --- placing a score ---------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _sample(pk: int, measured_at: Any, columns: int) -> Floats:
    data = Statistic.objects.values_list("sample", flat=True).get(pk=pk)
    return np.frombuffer(bytes(data), "<f2").reshape(-1, columns).astype(np.float32)


@lru_cache(maxsize=256)
def _sorted(
    pk: int, measured_at: Any, columns: int, weights: tuple[float, ...], metric: str
) -> Floats:
    """Scores of the sample under these weights, ascending."""
    similarities: Any = _sample(pk, measured_at, columns)
    if metric == "euclidean":
        similarities = 1 - np.sqrt(np.maximum(0, 2 - 2 * similarities)) / 2
    scores: Floats = np.sort(similarities @ np.array(weights, np.float32))
    return scores


Place = tuple[int, Any]
"""(id, time of measurement) of a kept sample."""


def samples_for(
    collections: Sequence[int], release: Release, name: str
) -> Mapping[int | None, Place]:
    """The sample of each collection that has one, and under None that of all together."""
    rows = Statistic.objects.filter(release=release, name=name).filter(images__gte=LEAST_IMAGES)
    found = rows.values_list("collection_id", "pk", "measured_at")
    return {c: (pk, at) for c, pk, at in found if c is None or c in collections}


def percentile(
    place: Place, columns: int, weights: Sequence[float], score: float, metric: str
) -> float:
    """Share of the sample's pairs, in percent, that are less alike than this score."""
    scores = _sorted(*place, columns, tuple(weights), metric)
    # Half precision stores the sample: what is nearer than its rounding counts as equal.
    below = int(np.searchsorted(scores, score - 5e-4, "left"))
    return round(100 * below / len(scores), 2)


def of_parts(
    collection: int,
    parts: Mapping[str, float],
    rank: Mapping[str, float],
    score: float,
    metric: str,
    pairs: Mapping[int | None, Place],
    regions: Mapping[int | None, Place],
) -> dict[str, float]:
    """Percentiles of a hit's similarities and, where no region is in it, of its score."""
    found: dict[str, float] = {}
    whole = pairs.get(collection) or pairs.get(None)
    if whole is not None:
        for position, space in enumerate(SPACES):
            if space in parts:
                weights = [0.0, 0.0, 0.0]
                weights[position] = 1.0
                found[space] = percentile(whole, 3, weights, parts[space], metric)
        if set(parts) <= set(SPACES):
            weights = [rank.get(space, 0.0) for space in SPACES]
            found["score"] = percentile(whole, 3, weights, score, metric)
    part = regions.get(collection) or regions.get(None)
    if part is not None and "region" in parts:
        found["region"] = percentile(part, 1, [1.0], parts["region"], metric)
    return found
