"""Published PSPNets by name: where they lie, what they reached, under which terms. Loads no torch itself."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from segmentation.download import Progress, fetch
from segmentation.errors import CatalogueError, CheckpointError
from segmentation.manifest import Manifest

CATALOGUE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Entry:
    """A published model.

    Attributes:
        name: what it is installed as.
        title: one line for people.
        url: its checkpoint; decoder_url: the second file of CSAIL's layout.
        layout: one of `segmentation.checkpoints.layouts.LAYOUTS`.
        labels: its label set.
        miou, miou_multi_scale: published mean IoU in percent, single scale and multi scale + flip.
        licence: of weights and code, as published.
        source: whose it is.
        about_bytes: size of its tensors, computed from the network's shape.
        sha256: digests of the files, where they are known. Publishers print none, so the one seen at
            the first installation is recorded and must stay.
        options: what `segmentation.checkpoints.ImportOptions` is told.
    """

    name: str
    title: str
    url: str
    layout: str
    labels: str
    miou: float
    miou_multi_scale: float | None
    licence: str
    source: str
    about_bytes: int
    decoder_url: str | None = None
    sha256: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """All its files."""
        return [self.url] if self.decoder_url is None else [self.url, self.decoder_url]


def entries(path: Path = CATALOGUE) -> list[Entry]:
    """All models of a catalogue file, in its order."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        Entry(**{**row, "sha256": tuple(row["sha256"]) if row.get("sha256") else None})
        for row in rows
    ]


def entry(name: str, path: Path = CATALOGUE) -> Entry:
    """The model of a name; CatalogueError names those that are nearest."""
    known = {one.name: one for one in entries(path)}
    if name not in known:
        near = difflib.get_close_matches(name, known, 4, 0.4) or list(known)[:4]
        raise CatalogueError(f"The catalogue has no {name!r}. Nearest: {', '.join(near)}.")
    return known[name]


def _digests(one: Entry, target_dir: Path) -> list[str | None]:
    """What the files must be: as the catalogue says, or as they were when first installed."""
    if one.sha256:
        return list(one.sha256)
    path = target_dir / f"{one.name}.json"
    if path.exists():
        files = Manifest.load(path).source.get("files", [])
        if len(files) == len(one.urls):
            return [file["sha256"] for file in files]
    return [None] * len(one.urls)


def download(one: Entry, target_dir: Path, progress: Progress | None = None) -> list[Path]:
    """Fetch a model's files into `target_dir`, named after the model.

    Raises:
        DownloadError, DownloadCorrupt, DiskFull: see `segmentation.download.fetch`.
    """
    paths = []
    for number, (url, sha256) in enumerate(zip(one.urls, _digests(one, target_dir), strict=True)):
        suffix = Path(urlsplit(url).path).suffix or ".pth"
        path = target_dir / f"{one.name}{'-decoder' if number else ''}{suffix}"
        fetch(url, path, sha256=sha256, progress=progress)
        paths.append(path)
    return paths


def install(
    name: str,
    target_dir: Path,
    *,
    progress: Progress | None = None,
    path: Path = CATALOGUE,
    overwrite: bool = False,
) -> Path:
    """Download a model and import it; needs torch.

    Args:
        name: of the catalogue.
        target_dir: where NAME.json and NAME.safetensors are to be. The download lies there until it
            was imported; where it cannot be and nothing says that it is the right file, it is removed,
            so that the next installation fetches it anew.
        progress: called with bytes so far and in all, for each file anew.
        path: another catalogue file.
        overwrite: weights of the name that are in `target_dir` already.

    Returns:
        Path of the manifest.

    Raises:
        CatalogueError, DownloadError, DownloadCorrupt, DiskFull.
        CheckpointError: what came cannot be imported, or the name is taken, before anything is fetched.
    """
    from segmentation.checkpoints import ImportOptions, import_checkpoint, refuse_taken

    one = entry(name, path)
    if not overwrite:
        refuse_taken(one.name, target_dir)
    known = all(_digests(one, target_dir))
    files = download(one, target_dir, progress)
    metrics = {"published_miou": one.miou, "published_miou_multi_scale": one.miou_multi_scale}
    try:
        manifest = import_checkpoint(
            files[0],
            labels=one.labels,
            target_dir=target_dir,
            decoder=files[1] if len(files) > 1 else None,
            layout=one.layout,
            name=one.name,
            options=ImportOptions(
                **one.options, title=one.title, terms=one.licence, metrics=dict(metrics)
            ),
            overwrite=overwrite,
        )
    except CheckpointError:
        if not known:  # it may be a page that a proxy or the publisher gave in place of the file
            _remove(files)
        raise
    _remove(files)
    return manifest


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
