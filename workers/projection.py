"""The map of a collection: context vectors projected to the plane by t-SNE (openTSNE)."""

from __future__ import annotations

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from retrieval.models import Collection, Descriptor, MapPoint, Release, Statistic
from retrieval.search import statistics
from retrieval.search.vectors import dense

FITTED = 5_000
"""Most pictures that the projection is fitted on; others are laid among them."""
MOST = 100_000
"""Most pictures on a map; of larger collections a random part is shown."""
LEAST_FITTED = 50
"""With fewer, the two first principal axes are the map."""

MARGIN = 0.04
"""Part of the map left free at each side, so that no thumbnail is cut off."""

Floats = NDArray[np.float64]


def principal_plane(vectors: Floats) -> Floats:
    """(N, D) → (N, 2), the two first principal components."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(vectors), 2))
    projected = centred @ axes[:2].T
    plane[:, : projected.shape[1]] = projected
    return plane


def fit(vectors: Floats, others: Floats) -> tuple[Floats, Floats]:
    """t-SNE of the fitted vectors, and the others laid beside their nearest, both (·, 2).

    van der Maaten and Hinton, JMLR 2008; started from PCA and with a perplexity that grows with the
    set (Kobak and Berens, Nature Communications 2019), so that the global arrangement is kept.
    """
    from openTSNE import TSNE

    embedding = TSNE(
        perplexity=min(30.0, len(vectors) / 4),
        metric="euclidean",  # of unit vectors: the order of cosines
        initialization="pca",
        neighbors="exact" if len(vectors) < 2_000 else "auto",
        negative_gradient_method="auto",
        random_state=0,
        n_jobs=1,
        verbose=False,
    ).fit(vectors)
    laid = np.asarray(embedding.transform(others, perplexity=5)) if len(others) else others[:, :2]
    return np.asarray(embedding), laid


def to_unit_square(points: Floats) -> Floats:
    """Scale each axis, so that the points fill [0, 1]² but for a margin.

    Only which pictures are neighbours has a meaning on the map; with one scale for both axes an
    oblong set would leave most of it empty.
    """
    low, high = points.min(0), points.max(0)
    side = np.maximum(high - low, 1e-12)
    return 0.5 + (1 - 2 * MARGIN) * (points - (low + high) / 2) / side


def project(vectors: Floats, seed: int = 0) -> Floats:
    """Points in the unit square for (N, D) vectors of length 1."""
    if len(vectors) < LEAST_FITTED:
        return to_unit_square(principal_plane(vectors))
    order = np.random.default_rng(seed).permutation(len(vectors))
    fitted, others = order[:FITTED], order[FITTED:]
    points = np.zeros((len(vectors), 2))
    points[fitted], points[others] = fit(vectors[fitted], vectors[others])
    return to_unit_square(points)


def draw_map(collection: Collection, release: Release) -> Statistic | None:
    """Project a collection and store its points; None when it is empty."""
    images = statistics.images_of(collection, release)
    rows = list(
        Descriptor.objects.filter(collection=collection, release=release)
        .order_by("?")
        .only("image_id", "context")[:MOST]
    )
    if not rows:
        return None
    points = project(np.stack([dense(row, "context").astype(np.float32) for row in rows]))
    with transaction.atomic():
        MapPoint.objects.filter(collection=collection, release=release).delete()
        MapPoint.objects.bulk_create(
            [
                MapPoint(
                    image_id=row.image_id,
                    release=release,
                    collection=collection,
                    x=float(x),
                    y=float(y),
                )
                for row, (x, y) in zip(rows, points, strict=True)
            ],
            batch_size=2_000,
        )
    return statistics.keep(collection, release, "map", images, {})
