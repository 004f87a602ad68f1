"""Fitting a release's whitening on a seeded sample of the pictures that are stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from django.conf import settings
from django.core.files.storage import default_storage

from retrieval.errors import StateConflict
from retrieval.models import Image, Release
from retrieval.releases import forget, weights_folder, weights_of
from segmentation.decode import decode
from segmentation.export import FUSED_SHARE, RANKING, feature_scales
from segmentation.predict import Parser
from segmentation.whiten import fit_whitening, store_whitening

LEAST = 50


def fit(
    release: Release,
    sample: int = 500,
    seed: int = 0,
    width: int = 256,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Release:
    """Fit μ and W on `sample` stored pictures and put them into the release's own weights.

    What the release has found so far was made with other vectors, so it is deleted; fill it anew. Its
    ranking becomes that of weights which come fitted.

    Args:
        width: D of the context vectors; at most the number of pictures less two.

    Raises:
        StateConflict: the release answers or has answered, or does by the end; it is of shipped
            weights; or there are fewer than 50 pictures.
    """
    manifest_path = weights_folder() / f"{release.weights_name}.json"
    if not manifest_path.exists():
        raise StateConflict(f"{release.name} runs on shipped weights, which are fitted already.")
    if release.state != Release.State.FILLING:
        raise StateConflict(f"{release.name} is {release.state}; fit a release before it answers.")
    ids = sorted(Image.objects.filter(collection__kind="normal").values_list("pk", flat=True))
    if len(ids) < LEAST:
        raise StateConflict(f"Fitting needs {LEAST} pictures or more; there are {len(ids)}.")
    places = np.random.default_rng(seed).permutation(len(ids))[:sample]
    parser = Parser.load(weights_of(release), settings.DEVICE, bf16=settings.BF16)
    rows = []
    for number, place in enumerate(sorted(places.tolist())):
        progress(number, len(places))
        with default_storage.open(Image.objects.get(pk=ids[place]).original.name or "") as file:
            (parsed,) = parser.infer([parser.prepare(decode(file.read()))])
        rows.append(parsed.features.mean((0, 1)))
    features = np.stack(rows)
    general = parser.network.backbone.general_channels
    scales = feature_scales(features, general, FUSED_SHARE)
    forget(release)
    fitted = store_whitening(manifest_path, fit_whitening(features, scales, width), RANKING)
    Release.objects.filter(pk=release.pk).update(
        weights_sha256=fitted.weights_sha256,
        context_width=fitted.context_width,
        ranking=fitted.ranking,
    )
    # Uploads of these seconds were parsed by the old weights. A worker that is at it now loses its row
    # and with it the right to write; whoever claims one from here on loads the new weights.
    forget(release)
    release.refresh_from_db()
    return release
