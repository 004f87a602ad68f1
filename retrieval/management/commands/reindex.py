"""`manage.py reindex`: build the active release's vector indexes where they are missing or broken."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from tqdm import tqdm

from retrieval.management.prepared import prepare
from retrieval.search.indexes import build_indexes, build_progress, index_sizes

_POLL_S = 1.0


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show what PostgreSQL says of the indexes being built, from a connection of its own."""
    over = threading.Event()

    def watch() -> None:
        with tqdm(unit="row", mininterval=1) as bar:
            while not over.wait(_POLL_S):
                for row in build_progress():
                    bar.set_description(f"{row['index']} {row['phase']}")
                    bar.total, bar.n = max(row["total"], row["done"]), row["done"]
                    bar.refresh()
        connection.close()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


class Command(BaseCommand):
    help = "Build missing or broken HNSW indexes of the active release; searches go on meanwhile."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--memory-mb", type=int, default=512, help="for the graph being built")
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)

    def handle(self, *, memory_mb: int, workers: int, **_: Any) -> None:
        release = prepare()
        with progress_shown():
            made = build_indexes(release, memory_mb, workers)
        self.stdout.write(f"built: {', '.join(made) or 'nothing was missing'}")
        for space, size in index_sizes(release).items():
            self.stdout.write(f"{space}: {size / 1e6:.1f} MB")
