"""`manage.py export_masks --collection NAME --out DIR`: pictures and masks as training data."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from PIL import Image as Pillow
from tqdm import tqdm

from retrieval.management.prepared import prepare
from retrieval.models import Mask, Release, SemanticClass

QUALITY = 92


class Command(BaseCommand):
    help = (
        "Write a collection's pictures and masks as NAME.jpg and NAME.png, the format that "
        "`python -m segmentation train` and `evaluate` read. Correct the masks in any editor that "
        "keeps palettes; 255 is what nobody labelled."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--collection", required=True, help="name")
        parser.add_argument("--out", required=True, type=Path, help="a new or empty folder")
        parser.add_argument("--release", help="whose masks; default: the active one's")
        parser.add_argument(
            "--max-confidence",
            type=float,
            default=1.0,
            help="only pictures of whose masks the network was at most this sure, 0 to 1",
        )
        parser.add_argument("--json", action="store_true")

    def handle(
        self,
        *,
        collection: str,
        out: Path,
        release: str | None,
        max_confidence: float,
        **options: Any,
    ) -> None:
        prepare()
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise CommandError(f"{out} is there and not an empty folder")
        found = _release(release)
        masks = _masks(collection, found, max_confidence)
        if not masks.exists():
            raise CommandError(
                f"{found.name} has no such mask in a collection named {collection!r}"
            )
        out.mkdir(parents=True, exist_ok=True)
        for mask in tqdm(masks.iterator(100), "writing", masks.count(), unit="image"):
            _write(mask, out)
        classes = SemanticClass.objects.filter(release=found).order_by("index")
        rows = [[one.name, one.name_zh, one.colour] for one in classes]
        labels = {"name": found.label_set, "offset": 0, "classes": rows}
        (out / "labels.json").write_text(json.dumps(labels, ensure_ascii=False, indent=1) + "\n")
        said = {"images": masks.count(), "release": found.name, "out": str(out)}
        if options["json"]:
            self.stdout.write(json.dumps(said))
        else:
            self.stdout.write(f"{said['images']} pictures with masks of {found.name} in {out}")


def _release(name: str | None) -> Release:
    wanted = {"name": name} if name else {"state": "active"}
    found = Release.objects.filter(**wanted).first()
    if found is None:
        raise CommandError(f"there is no release {name!r}" if name else "no release is active")
    return found


def _masks(collection: str, release: Release, max_confidence: float) -> QuerySet[Mask]:
    masks = Mask.objects.filter(
        collection__name=collection,
        release=release,
        mean_confidence__lte=max_confidence,
    )
    return masks.exclude(image__thumb_1024="").select_related("image").order_by("image_id")


def _write(mask: Mask, out: Path) -> None:
    """The 1024 px picture, which stands upright and carries no metadata, and its mask as large."""
    with default_storage.open(str(mask.image.thumb_1024.name)) as file:
        picture = Pillow.open(file).convert("RGB")
    classes = Pillow.open(io.BytesIO(bytes(mask.png)))
    classes.resize(picture.size, Pillow.Resampling.NEAREST).save(out / f"{mask.image_id}.png")
    picture.save(out / f"{mask.image_id}.jpg", quality=QUALITY)
