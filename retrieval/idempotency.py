"""Requests with an Idempotency-Key are done once, and answered alike when they come again.

After draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework.utils.encoders import JSONEncoder

from retrieval.errors import FieldInvalid, KeyInUse, KeyReused
from retrieval.models import IdempotentRequest

User = Any
KEPT = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=5)
MAX_KEY = 200


@dataclass(frozen=True)
class Reply:
    """An answer that can be kept."""

    status: int
    body: dict[str, Any]
    location: str = ""
    replayed: bool = False


def fingerprint(fields: Iterable[tuple[str, str]], files: Iterable[Any]) -> str:
    """SHA-256 (hex) of a form's fields and files; the files are read and rewound."""
    digest = hashlib.sha256()
    for name, value in sorted(fields):
        digest.update(f"{name}\0{value}\0".encode())
    for file in files:
        digest.update(f"{file.name}\0{file.size}\0".encode())
        for chunk in iter(lambda: file.read(1 << 20), b""):  # noqa: B023
            digest.update(chunk)
        file.seek(0)
    return digest.hexdigest()


def _begin(user: User, key: str, print_: str) -> IdempotentRequest:
    """The key's row: new, or as it was when the request came before."""
    now = timezone.now()
    with transaction.atomic():
        IdempotentRequest.objects.filter(user=user, key=key, created_at__lt=now - KEPT).delete()
        IdempotentRequest.objects.filter(
            user=user, key=key, status=None, created_at__lt=now - ABANDONED_AFTER
        ).delete()
        row, made = IdempotentRequest.objects.get_or_create(
            user=user, key=key, defaults={"fingerprint": print_}
        )
    if made:
        return row
    if row.fingerprint != print_:
        raise KeyReused(
            "This Idempotency-Key came with another content; use a new key.",
            field="Idempotency-Key",
        )
    if row.status is None:
        raise KeyInUse("The first request with this key is still being answered.")
    return row


def once(user: User, key: str, print_: str, work: Callable[[], Reply]) -> Reply:
    """Do `work` unless the key's request was answered within a day; then that answer again.

    An error is not kept: the request may be repeated with the same key.

    Raises:
        KeyReused: the key came with another content.
        KeyInUse: its first request is still being answered.
    """
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise FieldInvalid(
            f"Idempotency-Key has 1 to {MAX_KEY} characters.", field="Idempotency-Key"
        )
    row = _begin(user, key, print_)
    if row.status is not None:
        return Reply(row.status, row.body or {}, row.location, replayed=True)
    try:
        reply = work()
    except BaseException:
        row.delete()
        raise
    row.status, row.location = reply.status, reply.location
    row.body = json.loads(json.dumps(reply.body, cls=JSONEncoder))
    row.save(update_fields=("status", "body", "location"))
    return reply


def expire() -> int:
    """Forget keys after a day; how many."""
    return IdempotentRequest.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
