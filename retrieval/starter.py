"""The release that a new platform begins with: the weights that Paysage ships."""

from __future__ import annotations

import logging

from django.db import transaction

from retrieval.models import Release
from retrieval.releases import fill, keep_weights, weights_folder
from retrieval.services import register_release
from segmentation.manifest import Manifest

log = logging.getLogger("paysage")

STARTER = "starter"
"""Name of the shipped weights, and of the release that a new platform begins with."""


def ensure_starter_release() -> Release:
    """The active release; the shipped weights become it when there is none.

    They are copied, so that an upgrade which ships others leaves the release as it is. A platform from
    before that was done has no copy: it takes one, or the weights that are shipped now take over.
    """
    release = Release.objects.filter(state=Release.State.ACTIVE).first()
    if release is None:
        return register_release(keep_weights(Manifest.load(STARTER), STARTER), "active")
    kept = weights_folder() / f"{release.weights_name}.json"
    if release.weights_name != STARTER or kept.exists():
        return release
    shipped = Manifest.load(STARTER)
    if shipped.weights_sha256 != release.weights_sha256:
        return _taken_over(release, shipped)
    keep_weights(shipped, STARTER)
    return release


def _taken_over(before: Release, shipped: Manifest) -> Release:
    """A release whose weights no version holds any more is retired; its pictures are parsed anew."""
    name = f"{STARTER}-{shipped.weights_sha256[:8]}"
    kept = keep_weights(shipped, name)
    with transaction.atomic():
        Release.objects.filter(pk=before.pk).update(state=Release.State.RETIRED)
        release = register_release(kept, Release.State.ACTIVE)
    count = fill(release)
    log.warning("%s replaces %s, whose weights are gone: %d pictures", name, before.name, count)
    return release


def newer_weights_shipped() -> bool:
    """Whether the shipped weights are those of no release here."""
    shipped = Manifest.load(STARTER).weights_sha256
    return not Release.objects.filter(weights_sha256=shipped).exists()
