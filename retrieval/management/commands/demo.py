"""`manage.py demo`: a public collection of rendered scenes, so that a first visit shows something."""

from __future__ import annotations

import argparse
import io
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from PIL import Image as Pillow
from tqdm import tqdm

from retrieval import env, services
from retrieval.management.prepared import ensure_administrator, prepare
from retrieval.models import Collection
from retrieval.upload import store_upload
from segmentation.scenes import render

NAME = "Demo: rendered scenes"
COUNT = 150


class Command(BaseCommand):
    help = "Store the demo collection's rendered pictures, unless that was done before."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=COUNT)
        parser.add_argument("--again", action="store_true", help="also if it was loaded before")

    def handle(self, *, count: int, again: bool, **_: Any) -> None:
        prepare()
        if said := ensure_administrator():  # the first command of a platform of containers
            self.stdout.write(said)
        marker = env.folder("PAYSAGE_HOME") / "demo-loaded"
        if marker.exists() and not again:  # whoever deleted it does not want it back
            return
        owner = get_user_model().objects.filter(is_superuser=True).order_by("pk").first()
        assert owner is not None
        found = Collection.objects.filter(name=NAME, owner=owner).first()
        collection = found or services.create_collection(owner, NAME, "public")
        for seed in tqdm(range(count), "demo", unit="image", mininterval=5):
            scene = render(seed)
            buffer = io.BytesIO()
            Pillow.fromarray(scene.image).save(buffer, "JPEG", quality=92)
            buffer.seek(0)
            store_upload(
                buffer,
                filename=f"{scene.title}.jpg",
                collection=collection,
                user=owner,
                tags=[scene.kind],
                rendered=True,
                priority=1,
            )
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
