"""Stored files whose rows are gone."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.files.storage import default_storage
from django.db import transaction


def delete_after_commit(names: Iterable[str | None]) -> None:
    """Delete stored files once the transaction that let go of them is committed."""
    gone = [name for name in names if name]

    def delete() -> None:
        for name in gone:
            default_storage.delete(name)

    transaction.on_commit(delete)
