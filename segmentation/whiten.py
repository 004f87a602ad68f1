"""Fitting the projection of pooled features that a release carries."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from segmentation.describe import Floats, Whitening
from segmentation.manifest import Manifest, sha256_of

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


def store_whitening(
    manifest_path: Path, whitening: Whitening, ranking: dict[str, float] | None = None
) -> Manifest:
    """Put a fitted projection into weights: their file, digest and context width change.

    The manifest is written last, so that a kill in between leaves weights that are refused rather
    than weights that answer otherwise than they say.

    Args:
        manifest_path: of imported or exported weights.
        whitening: fitted on features of these very weights.
        ranking: default weights in a score that go with it; None leaves them as they are.
    """
    manifest = Manifest.load(manifest_path)
    state = load_file(manifest.verify_weights())
    state["whitening.mean"] = whitening.mean
    if whitening.matrix is None:
        state.pop("whitening.mean")
        state.pop("whitening.matrix", None)
    else:
        state["whitening.matrix"] = whitening.matrix.astype(np.float16)
    temporary = manifest.weights_path.with_suffix(".safetensors.tmp")
    save_file(state, temporary)
    fitted = replace(
        manifest,
        context_width=whitening.width,
        ranking=ranking or manifest.ranking,
        weights_sha256=sha256_of(temporary),
    )
    os.replace(temporary, manifest.weights_path)
    fitted.save(manifest.folder)
    return fitted
