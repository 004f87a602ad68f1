"""Making, listing and removing webhooks: for those who manage the collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from retrieval.errors import FieldInvalid, NotFound
from retrieval.ids import new_secret
from retrieval.models import Collection, Webhook
from retrieval.permissions import require_manage
from retrieval.webhooks.addresses import parse_address
from retrieval.webhooks.outbox import EVENTS

User = Any
MAX_HOOKS = 10


def create_webhook(
    user: User, collection: Collection, url: str, events: Iterable[str] = EVENTS
) -> Webhook:
    """A webhook with a new secret.

    Raises:
        Forbidden: the user may not manage the collection.
        AddressRefused, FieldInvalid: an impossible address or event, or one too many.
    """
    require_manage(user, collection)
    parse_address(url)
    events = list(dict.fromkeys(events))
    if not events or set(events) - set(EVENTS):
        raise FieldInvalid(f"events are some of {', '.join(EVENTS)}.", field="events")
    if collection.webhooks.count() >= MAX_HOOKS:
        raise FieldInvalid(f"A collection has at most {MAX_HOOKS} webhooks.", field="collection")
    secret = f"whsec_{new_secret()}"
    return Webhook.objects.create(
        user=user, collection=collection, url=url, secret=secret, events=events
    )


def webhooks_for(user: User) -> QuerySet[Webhook]:
    """The user's own webhooks."""
    return Webhook.objects.filter(user=user)


def webhook_for(user: User, pk: int) -> Webhook:
    """The user's own; NotFound for others'."""
    found = webhooks_for(user).filter(pk=pk).first()
    if found is None:
        raise NotFound("There is no such webhook.")
    return found
