"""`manage.py reindex`: build the active release's vector indexes where they are missing or broken."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from retrieval.management.prepared import prepare
from retrieval.search.sql import build_indexes


class Command(BaseCommand):
    help = "Build missing or broken HNSW indexes of the active release; searches go on meanwhile."

    def handle(self, **_: Any) -> None:
        made = build_indexes(prepare())
        self.stdout.write(f"built: {', '.join(made) or 'nothing was missing'}")
