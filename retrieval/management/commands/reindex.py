"""`manage.py reindex`: the search indexes of a release, made or mended while searches go on."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from retrieval.errors import RetrievalError
from retrieval.management.prepared import prepare
from retrieval.models import Release
from retrieval.search import indexes


class Command(BaseCommand):
    """Builds what is missing or invalid; writers and searches are not kept waiting."""

    help = "Build the release's HNSW indexes that are missing or invalid."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--release", help="name; default: the active one")
        parser.add_argument("--anew", action="store_true", help="build the valid ones again, too")
        parser.add_argument("--drop", action="store_true", help="drop them instead")
        parser.add_argument(
            "--memory-mb", type=int, default=1024, help="most maintenance_work_mem for the build"
        )
        parser.add_argument("--parallel", type=int, default=2, help="more processes to build with")
        parser.add_argument("--json", action="store_true")

    def handle(
        self, *, release: str | None, anew: bool, drop: bool, memory_mb: int, parallel: int,
        **options: Any,
    ) -> None:  # fmt: skip
        active = prepare()
        chosen = Release.objects.filter(name=release).first() if release else active
        if chosen is None:
            raise CommandError(f"there is no release {release!r}")
        started = time.monotonic()
        try:
            if drop:
                changed = indexes.drop(chosen)
            else:
                changed = indexes.build(
                    chosen, anew=anew, most_memory_mb=memory_mb, parallel=parallel
                )
        except RetrievalError as error:
            raise CommandError(error.message) from error
        result = {
            "release": chosen.name,
            "dropped" if drop else "built": changed,
            "indexes": [vars(state) for state in indexes.states(chosen)],
            "seconds": round(time.monotonic() - started, 2),
        }
        if options["json"]:
            self.stdout.write(json.dumps(result))
            return
        for name in changed:
            self.stdout.write(f"{'dropped' if drop else 'built'} {name}")
        self.stdout.write(f"{len(changed)} indexes in {result['seconds']} s")
