"""What can be done about releases, each with progress: for `manage.py release` and the admin's tasks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrieval import releases
from retrieval.errors import FieldInvalid, NotFound
from retrieval.models import Collection, Release
from retrieval.starter import STARTER
from segmentation.manifest import Manifest

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it, and out of how much (None: not known)."""


def row(release: Release) -> dict[str, Any]:
    """A release as the command line prints it."""
    return {
        **releases.filled(release).to_json(),
        "network": release.network,
        "label_set": release.label_set,
        "context_width": release.context_width,
        "metrics": release.metrics,
    }


def import_file(
    progress: Progress,
    *,
    file: str,
    labels: str | None = None,
    name: str | None = None,
    decoder: str | None = None,
    layout: str = "auto",
    sha256: str | None = None,
) -> Release:
    """A checkpoint file of anybody's becomes a release that waits to be filled.

    A `.json` is the manifest of weights that `python -m segmentation export` made, and `starter` names
    the shipped ones: they are copied, and say themselves what their classes are.

    Raises:
        CheckpointError, WeightsError, StateConflict, FieldInvalid: as the importer and
            `releases.register`, or `labels` is missing for a checkpoint.
    """
    if file.endswith(".json") or file == STARTER:
        return releases.adopt(file, releases.check_name(name) if name else None)
    if labels is None:
        raise FieldInvalid("Say which label set the checkpoint has: --labels.", field="labels")
    from segmentation.checkpoints import import_checkpoint

    own = releases.check_name(name) if name else Path(file).stem
    left = releases.left_over(own)
    progress("reading the checkpoint", 0, None)
    path = import_checkpoint(
        Path(file),
        labels=labels,
        target_dir=releases.weights_folder(),
        decoder=Path(decoder) if decoder else None,
        layout=layout,
        name=own,
        sha256=sha256,
        overwrite=left,
    )
    return releases.register(Manifest.load(path))


def install(progress: Progress, *, name: str) -> Release:
    """Download a published model of the catalogue and import it.

    Raises:
        StateConflict: a release of the name is there; nothing is downloaded.
        CatalogueError, DownloadError, DownloadCorrupt, DiskFull, CheckpointError: as the catalogue.
    """
    from segmentation import catalogue

    left = releases.left_over(name)
    path = catalogue.install(
        name,
        releases.weights_folder(),
        overwrite=left,
        progress=lambda done, total: progress("downloading", done, total),
    )
    return releases.register(Manifest.load(path))


def fit(progress: Progress, *, name: str, images: int = 500, seed: int = 0) -> Release:
    """Fit a release's whitening on stored pictures."""
    from workers.fitting import fit as fitted

    return fitted(
        releases.release_named(name),
        images,
        seed,
        progress=lambda done, total: progress("pooling pictures", done, total),
    )


def promote(progress: Progress, *, name: str, force: bool = False) -> dict[str, Any]:
    """Make a filled release the one that answers, with its indexes built first."""
    release = releases.release_named(name)
    progress("building indexes and switching", 0, None)
    before = releases.promote(release, force)
    return {"before": before and before.name, **row(release)}


def retire(progress: Progress, *, name: str, delete_rows: bool = False) -> dict[str, Any]:
    """Stop filling a release, or forget it whole."""
    release = releases.release_named(name)
    progress("removing", 0, None)
    count = releases.retire(release, delete_rows)
    release.refresh_from_db()
    return {"analyses_removed": count, **row(release)}


def compare(
    progress: Progress,
    *,
    name: str,
    other: str,
    collection: str | None = None,
    images: int = 500,
    seed: int = 0,
    sheet: Path | None = None,
) -> dict[str, Any]:
    """Agreement of two releases; the largest differences drawn into `sheet` where one is wanted.

    Raises:
        NotFound: no such release or collection.
    """
    from workers import comparing

    first, second = releases.release_named(name), releases.release_named(other)
    chosen = None
    if collection is not None:
        chosen = Collection.objects.filter(name=collection, kind="normal").first()
        if chosen is None:
            raise NotFound(f"There is no collection {collection!r}.", field="collection")
    found = comparing.compare(
        first,
        second,
        chosen,
        images,
        seed,
        progress=lambda done, total: progress("comparing masks", done, total),
    )
    values = asdict(found)
    values["differences"] = [list(one) for one in found.differences[:10]]
    if sheet is not None:
        values["sheet"] = str(comparing.difference_sheet(found, first, second, sheet))
    return values


def compared_sheet(progress: Progress, **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """`compare` and the PNG of the largest differences."""
    with tempfile.TemporaryDirectory() as folder:
        values = compare(progress, **parameters, sheet=Path(folder) / "sheet.png")
        return values, Path(values.pop("sheet")).read_bytes()
