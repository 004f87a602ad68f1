"""`manage.py release list|import|install|fit|fill|promote|rollback|retire|compare`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from retrieval import releases
from retrieval.errors import RetrievalError
from retrieval.management.awaiting import workers_running
from retrieval.management.prepared import prepare
from retrieval.models import Collection, Release
from segmentation.errors import SegmentationError
from segmentation.manifest import Manifest


def _row(release: Release) -> dict[str, Any]:
    return {
        **releases.filled(release).to_json(),
        "network": release.network,
        "label_set": release.label_set,
        "context_width": release.context_width,
        "metrics": release.metrics,
    }


def _list(**_: Any) -> dict[str, Any]:
    return {"releases": [_row(release) for release in Release.objects.order_by("pk")]}


def _import(*, file: Path, labels: str, name: str | None, **options: Any) -> dict[str, Any]:
    from segmentation.checkpoints import import_checkpoint

    path = import_checkpoint(
        file,
        labels=labels,
        target_dir=releases.weights_folder(),
        decoder=options["decoder"],
        layout=options["layout"],
        name=releases.check_name(name) if name else None,
        sha256=options["sha256"],
    )
    return _row(releases.register(Manifest.load(path)))


def _install(*, name: str, **_: Any) -> dict[str, Any]:
    from segmentation import catalogue

    with tqdm(unit="B", unit_scale=True, desc=name, mininterval=1) as bar:

        def shown(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = catalogue.install(name, releases.weights_folder(), progress=shown)
    return _row(releases.register(Manifest.load(path)))


def _fit(*, name: str, images: int, seed: int, **_: Any) -> dict[str, Any]:
    from workers.fitting import fit

    return _row(fit(releases.release_named(name), images, seed))


def _fill(*, name: str, wait: bool, **_: Any) -> dict[str, Any]:
    release = releases.release_named(name)
    queued = releases.fill(release)
    if wait:
        with workers_running(("bulk",)):
            _await(release)
    return {"queued": queued, **_row(release)}


def _await(release: Release) -> None:
    state = releases.filled(release)
    with tqdm(total=state.images, desc="filling", unit="image", mininterval=1) as bar:
        while not state.whole:
            bar.total = state.images
            bar.update(state.ended - bar.n)
            time.sleep(0.5)
            state = releases.filled(release)
        bar.update(state.ended - bar.n)


def _promote(*, name: str, force: bool, **_: Any) -> dict[str, Any]:
    release = releases.release_named(name)
    before = releases.promote(release, force)
    return {"before": before and before.name, **_row(release)}


def _rollback(**_: Any) -> dict[str, Any]:
    now, before = releases.rollback()
    return {"before": before.name, **_row(now)}


def _retire(*, name: str, delete_rows: bool, **_: Any) -> dict[str, Any]:
    release = releases.release_named(name)
    count = releases.retire(release, delete_rows)
    release.refresh_from_db()
    return {"analyses_removed": count, **_row(release)}


def _compare(
    *,
    name: str,
    other: str,
    collection: str | None,
    images: int,
    seed: int,
    out: Path | None,
    **_: Any,
) -> dict[str, Any]:
    from workers.comparing import compare, difference_sheet

    first, second = releases.release_named(name), releases.release_named(other)
    chosen = None
    if collection is not None:
        chosen = Collection.objects.filter(name=collection, kind="normal").first()
        if chosen is None:
            raise CommandError(f"there is no collection {collection!r}")
    found = compare(first, second, chosen, images, seed)
    values = asdict(found)
    values["differences"] = [list(row) for row in found.differences[:10]]
    if out is not None:
        values["sheet"] = str(difference_sheet(found, first, second, out))
    return values


class Command(BaseCommand):
    help = "Model releases: import, install, fit, fill, promote, roll back, retire, compare."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        commands = parser.add_subparsers(required=True, metavar="WHAT", dest="what")

        def command(what: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
            sub: argparse.ArgumentParser = commands.add_parser(what, help=text)
            sub.set_defaults(run=run)
            sub.add_argument("--json", action="store_true", dest="as_json")
            return sub

        command("list", _list, "all releases, how far each is filled")
        sub = command("import", _import, "a checkpoint file; never executed")
        sub.add_argument("file", type=Path)
        sub.add_argument("--labels", required=True)
        sub.add_argument("--name")
        sub.add_argument("--decoder", type=Path)
        sub.add_argument("--layout", default="auto")
        sub.add_argument("--sha256")
        sub = command("install", _install, "a published model of the catalogue")
        sub.add_argument("name")
        sub = command("fit", _fit, "fit its whitening on stored pictures, before filling")
        sub.add_argument("name")
        sub.add_argument("--images", type=int, default=500)
        sub.add_argument("--seed", type=int, default=0)
        sub = command("fill", _fill, "queue what it has not seen, behind all uploads")
        sub.add_argument("name")
        sub.add_argument("--wait", action="store_true", help="until every picture has ended")
        sub = command("promote", _promote, "make it the one that answers")
        sub.add_argument("name")
        sub.add_argument("--force", action="store_true", help="although pictures are missing")
        command("rollback", _rollback, "back to the release before")
        sub = command("retire", _retire, "stop filling it")
        sub.add_argument("name")
        sub.add_argument("--delete-rows", action="store_true", help="its masks and vectors too")
        sub = command("compare", _compare, "agreement of two releases")
        sub.add_argument("name")
        sub.add_argument("other")
        sub.add_argument("--collection")
        sub.add_argument("--images", type=int, default=500)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--out", type=Path, help="PNG of the largest differences")

    def handle(self, *, run: Callable[..., dict[str, Any]], as_json: bool, **options: Any) -> None:
        prepare()
        try:
            result = run(**options)
        except (RetrievalError, SegmentationError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(result) if as_json else json.dumps(result, indent=1))
