"""`manage.py ingest PATH... --collection NAME`: files and folders into a collection."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from retrieval import services
from retrieval.errors import RetrievalError, StorageFull
from retrieval.management.awaiting import await_images
from retrieval.management.prepared import prepare
from retrieval.models import Collection
from retrieval.upload import store_upload

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def find_files(paths: list[Path]) -> list[Path]:
    """Files as named, and pictures below folders by their suffix, sorted; CommandError for neither."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
            )
        elif path.is_file():
            found.append(path)
        else:
            raise CommandError(f"{path} is neither a file nor a folder")
    return found


class Command(BaseCommand):
    help = "Store pictures in a collection and have them parsed."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path)
        parser.add_argument("--collection", required=True)
        parser.add_argument("--owner", help="user name; default: the first administrator")
        parser.add_argument("--tag-from-folder", action="store_true")
        parser.add_argument("--wait", action="store_true", help="until everything is parsed")
        parser.add_argument("--json", action="store_true")

    def handle(
        self,
        *,
        paths: list[Path],
        collection: str,
        owner: str | None,
        tag_from_folder: bool,
        wait: bool,
        **options: Any,
    ) -> None:
        started = time.monotonic()
        prepare()
        target = self._collection(collection, owner)
        counts = dict.fromkeys(("images", "new", "duplicates", "refused", "done", "failed"), 0)
        ids = []
        for path in tqdm(find_files(paths), "storing", unit="image", mininterval=1):
            counts["images"] += 1
            try:
                with path.open("rb") as file:
                    stored = store_upload(
                        file,
                        filename=path.name,
                        collection=target,
                        user=target.owner,
                        tags=[path.parent.name] if tag_from_folder else (),
                    )
            except StorageFull as error:
                raise CommandError(str(error)) from error
            except RetrievalError as error:
                counts["refused"] += 1
                self.stderr.write(f"{path}: {error.message}")
                continue
            counts["new" if stored.created else "duplicates"] += 1
            ids.append(stored.image.pk)
        if wait:
            states = await_images(ids)
            counts["done"] = states.get("done", 0)
            counts["failed"] = len(set(ids)) - counts["done"]
        self._report(counts, time.monotonic() - started, options["json"])

    def _collection(self, name: str, owner: str | None) -> Collection:
        users = get_user_model().objects
        user = (users.filter(username=owner) if owner else users.filter(is_superuser=True)).first()
        if user is None:
            if owner:
                raise CommandError(f"there is no user {owner!r}")
            user = users.create_user("admin", is_staff=True, is_superuser=True)  # type: ignore[attr-defined]
        found = Collection.objects.filter(owner=user, name=name, kind="normal").first()
        try:
            return found or services.create_collection(user, name)
        except RetrievalError as error:
            raise CommandError(error.message) from error

    def _report(self, counts: dict[str, int], seconds: float, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({**counts, "seconds": round(seconds, 2)}))
        else:
            said = ", ".join(f"{count} {name}" for name, count in counts.items())
            self.stdout.write(f"{said} in {seconds:.1f} s")
