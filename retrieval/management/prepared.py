"""What commands need before their first query: tables, a release that answers, an administrator."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model
from django.core.management import call_command

from retrieval.models import Release
from retrieval.starter import ensure_starter_release


def prepare() -> Release:
    """Bring the database up to date; the active release."""
    call_command("migrate", verbosity=0)
    return ensure_starter_release()


def ensure_administrator() -> str | None:
    """Let somebody in: a new password of the first administrator when none has any, else None.

    `ingest` on an empty platform makes an administrator without a password, to own what it stores.
    """
    users = get_user_model().objects
    administrators = list(users.filter(is_superuser=True, is_active=True).order_by("pk"))
    if any(user.has_usable_password() for user in administrators):
        return None
    password = secrets.token_urlsafe(12)
    if administrators:
        administrators[0].set_password(password)
        administrators[0].save(update_fields=["password"])
        name = administrators[0].get_username()
    else:
        name = "admin"
        users.create_superuser(name, password=password)  # type: ignore[attr-defined]
    return f"admin account: {name} / {password} (shown once)"
