"""Two releases on the same pictures: how far masks and neighbours agree, and where they differ most."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.core.files.storage import default_storage
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval.models import Collection, Descriptor, Image, Mask, Release
from retrieval.search.vectors import dense

NEIGHBOURS = 10
_TILE_PX = 320


@dataclass(frozen=True)
class Comparison:
    """Agreement of two releases on a sample of a collection.

    Attributes:
        images: pictures that both have parsed, of the sample.
        pixel_agreement: share of pixels with a class of the same name; None without common names.
        miou: mean IoU of the second's masks against the first's, over classes of the same name.
        top10_overlap: mean share of common pictures among the ten nearest by context.
        differences: (image id, pixel agreement), least agreeing first.
    """

    images: int
    pixel_agreement: float | None
    miou: float | None
    top10_overlap: float
    differences: list[tuple[str, float]]


def _names(release: Release) -> list[str]:
    return list(release.classes.order_by("index").values_list("name", flat=True))


def _mask(png: Any) -> NDArray[np.uint8]:
    return np.asarray(Pillow.open(io.BytesIO(bytes(png))))


def _common(first: Release, second: Release) -> tuple[NDArray[np.int16], NDArray[np.int16], int]:
    """Of each release, class index to index among the names both have, −1 for others."""
    names = [name for name in _names(first) if name in set(_names(second))]
    places = {name: place for place, name in enumerate(names)}
    tables = [
        np.array([places.get(name, -1) for name in _names(release)] + [-1] * 256, np.int16)[:256]
        for release in (first, second)
    ]
    return tables[0], tables[1], len(names)


def _overlap(ids: list[Any], first: Release, second: Release) -> float:
    """Mean share of common neighbours among the ten nearest by context, within the sample."""
    nearest = []
    for release in (first, second):
        rows = {d.image_id: d for d in Descriptor.objects.filter(release=release, image__in=ids)}
        matrix = np.stack([dense(rows[pk], "context") for pk in ids])
        scores = matrix @ matrix.T
        np.fill_diagonal(scores, -2)
        count = min(NEIGHBOURS, len(ids) - 1)
        nearest.append(np.argsort(-scores, axis=1)[:, :count])
    pairs = zip(*nearest, strict=True)
    return float(np.mean([len(set(a) & set(b)) / max(1, len(a)) for a, b in pairs]))


def compare(
    first: Release,
    second: Release,
    collection: Collection | None = None,
    sample: int = 500,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Compare on at most `sample` pictures that both releases have parsed, drawn with `seed`."""
    masks = Mask.objects.filter(release=first)
    if collection is not None:
        masks = masks.filter(collection=collection)
    both = masks.filter(image__in=Mask.objects.filter(release=second).values("image"))
    ids = sorted(both.values_list("image_id", flat=True))
    rng = np.random.default_rng(seed)
    if len(ids) > sample:
        ids = [ids[place] for place in sorted(rng.choice(len(ids), sample, replace=False))]
    if len(ids) < 2:
        return Comparison(len(ids), None, None, 0.0, [])
    to_first, to_second, common = _common(first, second)
    confusion = np.zeros((common + 1, common + 1), np.int64)
    differences = []
    for number, pk in enumerate(ids):
        progress(number, len(ids))
        one, two = (
            _mask(Mask.objects.values_list("png", flat=True).get(image=pk, release=release))
            for release in (first, second)
        )
        if two.shape != one.shape:
            size = (one.shape[1], one.shape[0])
            two = np.asarray(Pillow.fromarray(two).resize(size, Pillow.Resampling.NEAREST))
        a, b = to_first[one], to_second[two]
        keys = (a + 1).astype(np.int64) * (common + 1) + (b + 1)
        confusion += np.bincount(keys.ravel(), minlength=(common + 1) ** 2).reshape(confusion.shape)
        differences.append((str(pk), float((a == b)[a >= 0].mean()) if (a >= 0).any() else 0.0))
    inner = confusion[1:, 1:]
    shared = confusion[1:, :].sum()
    union = confusion[1:, :].sum(1) + confusion[:, 1:].sum(0) - np.diag(inner)
    present = union > 0
    return Comparison(
        images=len(ids),
        pixel_agreement=float(np.trace(inner) / shared) if shared else None,
        miou=float((np.diag(inner)[present] / union[present]).mean()) if present.any() else None,
        top10_overlap=_overlap(ids, first, second),
        differences=sorted(differences, key=lambda row: row[1]),
    )


def difference_sheet(
    comparison: Comparison, first: Release, second: Release, path: Path, rows: int = 6
) -> Path:
    """Draw the pictures on which they differ most: photograph, first mask, second mask; a PNG."""
    chosen = comparison.differences[:rows]
    tiles = []
    for pk, _ in chosen:
        image = Image.objects.get(pk=pk)
        with default_storage.open(image.thumb_1024.name or "") as file:
            photo = Pillow.open(io.BytesIO(file.read())).convert("RGB")
        row = [photo]
        for release in (first, second):
            png = Mask.objects.values_list("png", flat=True).get(image_id=pk, release=release)
            row.append(Pillow.open(io.BytesIO(bytes(png))).convert("RGB"))
        high = round(_TILE_PX * photo.height / photo.width)
        tiles.append([one.resize((_TILE_PX, high)) for one in row])
    height = sum(row[0].height + 4 for row in tiles) or 4
    sheet = Pillow.new("RGB", (3 * (_TILE_PX + 4), height), "white")
    top = 0
    for row in tiles:
        for place, tile in enumerate(row):
            sheet.paste(tile, (place * (_TILE_PX + 4), top))
        top += row[0].height + 4
    sheet.save(path)
    return path
