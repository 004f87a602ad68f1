"""`manage.py verify`: whether files and rows agree, both ways."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand
from django.db.models import Exists, F, OuterRef
from tqdm import tqdm

from retrieval.models import Analysis, ClassArea, Descriptor, Image, ImageTag, Mask, Region


def file_problems() -> list[str]:
    """Originals and thumbnails that are missing, altered, or belong to no row."""
    found: list[str] = []
    known: set[str] = set()
    rows = Image.objects.values_list("id", "sha256", "original", "thumb_256", "thumb_1024")
    for pk, sha256, *names in tqdm(rows.iterator(), "files", total=rows.count(), mininterval=1):
        known.update(filter(None, names))
        for name in filter(None, names):
            if not default_storage.exists(name):
                found.append(f"{pk}: {name} is missing")
        if default_storage.exists(names[0]):
            with default_storage.open(names[0]) as file:
                if hashlib.sha256(file.read()).hexdigest() != sha256:
                    found.append(f"{pk}: {names[0]} was altered")
    root = Path(settings.MEDIA_ROOT)
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in known and not name.startswith("staging/"):
            found.append(f"{name} belongs to no image")
    return found


def row_problems() -> list[str]:
    """Analyses without results and the reverse, rows of another collection, images not analysed."""
    same = {"image": OuterRef("image"), "release": OuterRef("release")}
    found = []
    for model in (Mask, Descriptor):
        done = Analysis.objects.filter(state="done").exclude(Exists(model.objects.filter(**same)))
        found += [f"{a.image_id}: done without {model.__name__}" for a in done]
        analysed = Analysis.objects.filter(**same)
        found += [
            f"{r.image_id}: {model.__name__} without analysis"
            for r in model.objects.exclude(Exists(analysed)).only("image_id")
        ]
    copies = (Analysis, Mask, Descriptor, Region, ClassArea, ImageTag)
    for copy in copies:
        elsewhere = copy._default_manager.exclude(collection=F("image__collection"))
        found += [
            f"{pk}: {copy.__name__} of another collection"
            for pk in elsewhere.values_list("image_id", flat=True).distinct()
        ]
    without = Image.objects.exclude(Exists(Analysis.objects.filter(image=OuterRef("pk"))))
    return found + [f"{image.pk}: no analysis" for image in without]


class Command(BaseCommand):
    help = "Check files against rows and rows against rows; exit status 1 when something is wrong."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        problems = file_problems() + row_problems()
        if options["json"]:
            self.stdout.write(json.dumps({"images": Image.objects.count(), "problems": problems}))
        else:
            for problem in problems:
                self.stdout.write(problem)
            self.stdout.write(f"{Image.objects.count()} images, {len(problems)} problems")
        if problems:
            raise SystemExit(1)
