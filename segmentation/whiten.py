"""Fitting the projection of pooled features that a release carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation.describe import Floats, Whitening

POWER = 0.15
"""Exponent of the eigenvalues: 0 is plain PCA, 0.5 full whitening. Chosen in docs/ranking.md."""


def fit_whitening(
    features: Floats, scales: Floats | None = None, width: int = 256, power: float = POWER
) -> Whitening:
    """PCA whitening of pooled features: rows of W are principal axes over eigenvalue^power.

    Jégou and Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012, with a
    softened power.

    Args:
        features: float32 (N, F), one mean feature a picture, N > 1.
        scales: float32 (F,), weights that the columns are multiplied by first, or None.
        width: D, at most min(N - 1, F).
    """
    weights = np.ones(features.shape[1], np.float32) if scales is None else scales
    mean = features.mean(0)
    centred = ((features - mean) * weights).astype(np.float64)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    width = min(width, len(singular) - 1)
    variances: NDArray[np.float64] = singular[:width] ** 2 / (len(features) - 1)
    # A common factor keeps the projected numbers near 1, where half precision is finest.
    factors = (variances / variances.mean()) ** -power / np.sqrt(variances.sum())
    matrix = (axes[:width] * factors[:, None] * weights).astype(np.float32)
    return Whitening(mean.astype(np.float32), matrix)
