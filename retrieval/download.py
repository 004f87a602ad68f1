"""Many pictures as one ZIP, made while it is sent."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from zipstream import ZIP_STORED, ZipStream

from retrieval.models import ClassArea, Image, Mask, SemanticClass

User = Any


def _file(name: str) -> Iterator[bytes]:
    with default_storage.open(name) as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _table(images: Sequence[Image]) -> str:
    """CSV of the pictures with the share of each class."""
    classes = list(SemanticClass.objects.filter(release__state="active").order_by("index"))
    shares: dict[Any, dict[int, float]] = {}
    rows = ClassArea.objects.filter(image__in=images, release__state="active")
    for pk, index, share in rows.values_list("image_id", "class_index", "fraction"):
        shares.setdefault(pk, {})[index] = share
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "title", "width_px", "height_px", *(found.name for found in classes)])
    for image in images:
        mine = shares.get(image.pk, {})
        areas = [f"{mine.get(found.index, 0.0):.5f}" for found in classes]
        writer.writerow([image.pk, safe_cell(image.title), image.width_px, image.height_px, *areas])
    return out.getvalue()


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def archive(user: User, images: Sequence[Image]) -> ZipStream:
    """Pictures, masks and a table of areas.

    An original goes to its uploader only, as it may tell where it was taken; others get the 1024 px
    picture without metadata.
    """
    found = ZipStream(compress_type=ZIP_STORED, sized=False)
    for image in images:
        mine = image.uploader_id == user.pk
        name = (image.original.name if mine else image.thumb_1024.name) or image.thumb_1024.name
        if name and default_storage.exists(name):
            found.add(_file(name), f"pictures/{image.pk}{Path(name).suffix}")
    ids = [image.pk for image in images]
    masks = Mask.objects.filter(image__in=ids, release__state="active").defer("png")
    for mask in masks:
        found.add(_mask(mask.pk), f"masks/{mask.image_id}.png")
    found.add(_table(images).encode("utf-8-sig"), "pictures.csv")
    return found


def _mask(pk: int) -> Iterator[bytes]:
    # One at a time, when its turn comes: thousands of masks need not be in memory together.
    yield bytes(Mask.objects.values_list("png", flat=True).get(pk=pk))
