"""What every command needs before its first query: tables, and a release that answers."""

from __future__ import annotations

from django.core.management import call_command

from retrieval.models import Release
from retrieval.starter import ensure_starter_release


def prepare() -> Release:
    """Bring the database up to date; the active release."""
    call_command("migrate", verbosity=0)
    return ensure_starter_release()
