"""`manage.py release list|import|install|fit|fill|promote|rollback|retire|compare`."""

from __future__ import annotations

import argparse
import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from retrieval import releases
from retrieval.errors import RetrievalError
from retrieval.management.awaiting import workers_running
from retrieval.management.prepared import prepare
from retrieval.models import Release
from segmentation.errors import SegmentationError
from workers import releasing
from workers.releasing import Progress, row


class _Bar:
    """Progress as a bar on standard error, one for each step."""

    def __init__(self) -> None:
        self.step, self.bar = "", tqdm(disable=True)

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step != self.step:
            self.close()
            self.step = step
            self.bar = tqdm(desc=step, total=total, unit_scale=True, mininterval=1)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def _list(progress: Progress) -> dict[str, Any]:
    return {"releases": [row(release) for release in Release.objects.order_by("pk")]}


def _fill(progress: Progress, *, name: str, wait: bool) -> dict[str, Any]:
    release = releases.release_named(name)
    queued = releases.fill(release)
    if wait:
        with workers_running(("bulk",)):
            state = releases.filled(release)
            while not state.whole:
                progress("filling", state.ended, state.images)
                time.sleep(0.5)
                state = releases.filled(release)
    return {"queued": queued, **row(release)}


def _rollback(progress: Progress, *, force: bool) -> dict[str, Any]:
    now, before = releases.rollback(force)
    return {"before": before.name, **row(now)}


def _keywords(run: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(run).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]


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
        sub = command("import", releasing.import_file, "a checkpoint file; never executed")
        sub.add_argument("file")
        sub.add_argument("--labels", help="needed but for the .json of exported weights")
        sub.add_argument("--name")
        sub.add_argument("--decoder")
        sub.add_argument("--layout", default="auto")
        sub.add_argument("--sha256")
        sub = command("install", releasing.install, "a published model of the catalogue")
        sub.add_argument("name")
        sub = command("fit", releasing.fit, "fit its whitening on stored pictures, before filling")
        sub.add_argument("name")
        sub.add_argument("--images", type=int, default=500)
        sub.add_argument("--seed", type=int, default=0)
        sub = command("fill", _fill, "queue what it has not seen, behind all uploads")
        sub.add_argument("name")
        sub.add_argument("--wait", action="store_true", help="until every picture has ended")
        sub = command("promote", releasing.promote, "make it the one that answers")
        sub.add_argument("name")
        sub.add_argument("--force", action="store_true", help="although pictures are missing")
        sub = command("rollback", _rollback, "back to the release before")
        sub.add_argument("--force", action="store_true", help="although it lacks most pictures")
        sub = command("retire", releasing.retire, "stop filling it")
        sub.add_argument("name")
        sub.add_argument("--delete-rows", action="store_true", help="its masks and vectors too")
        sub = command("compare", releasing.compare, "agreement of two releases")
        sub.add_argument("name")
        sub.add_argument("other")
        sub.add_argument("--collection")
        sub.add_argument("--images", type=int, default=500)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--out", type=Path, dest="sheet", help="PNG of the largest differences")

    def handle(self, *, run: Callable[..., Any], as_json: bool, **options: Any) -> None:
        prepare()
        progress = _Bar()
        try:
            found = run(progress, **{key: options[key] for key in _keywords(run)})
            result = row(found) if isinstance(found, Release) else found
        except (RetrievalError, SegmentationError, OSError) as error:
            raise CommandError(str(error)) from error
        finally:
            progress.close()
        self.stdout.write(json.dumps(result) if as_json else json.dumps(result, indent=1))
