"""Sending what the outbox holds: signed, each at least once, again with growing pauses."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from retrieval.errors import AddressRefused
from retrieval.models import Delivery
from retrieval.permissions import can_manage
from retrieval.webhooks.addresses import Address, parse_address, resolve

TIMEOUT_S = 5.0
LEASE_S = 60
MAX_ATTEMPTS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10, 6 * 3600
KEPT = timedelta(days=14)
_BATCH, _THREADS = 32, 8


def signature(secret: str, body: bytes, moment: int) -> str:
    """`t=<seconds>,v1=<HMAC-SHA256 hex of "seconds.body">`; the time lets receivers refuse replays."""
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},v1={mac.hexdigest()}"


def pause_s(attempts: int) -> int:
    """Seconds after the n-th try until the next: 10 s, 40 s, 160 s, … at most 6 hours."""
    return int(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 4 ** (attempts - 1)))


class _PinnedConnection(http.client.HTTPConnection):
    """Connects to a number that was checked, whatever the host's name means by now."""

    def __init__(self, address: Address, number: str) -> None:
        super().__init__(address.host, address.port, timeout=TIMEOUT_S)
        self.address, self.number = address, number

    def connect(self) -> None:
        plain = socket.create_connection((self.number, self.address.port), TIMEOUT_S)
        if self.address.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(plain, server_hostname=self.address.host)
        else:
            self.sock = plain


def send(delivery: Delivery) -> int:
    """POST one delivery; the status it was answered. Redirections are not followed.

    Raises:
        AddressRefused, OSError, http.client.HTTPException: there is no answer.
    """
    address = parse_address(delivery.webhook.url)
    body = json.dumps(delivery.body).encode()
    headers = {
        "Host": address.authority,
        "Content-Type": "application/json",
        "User-Agent": "Paysage-Webhook/1",
        "Paysage-Event": delivery.event,
        "Paysage-Delivery": str(delivery.pk),
        "Paysage-Signature": signature(delivery.webhook.secret, body, int(time.time())),
    }
    connected = _PinnedConnection(address, resolve(address))
    try:
        connected.request("POST", address.target, body, headers)
        return connected.getresponse().status
    finally:
        connected.close()


def _claim() -> list[Delivery]:
    """Deliveries that are due, with a lease and a try counted before anything is sent."""
    now = timezone.now()
    with transaction.atomic():
        due = list(
            Delivery.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(delivered_at=None, given_up_at=None, next_try_at__lte=now)
            .select_related("webhook__user", "webhook__collection")
            .order_by("next_try_at")[:_BATCH]
        )
        for delivery in due:
            delivery.attempts += 1
            delivery.next_try_at = now + timedelta(seconds=LEASE_S)
        Delivery.objects.bulk_update(due, ["attempts", "next_try_at"])
    return due


def _outcome(delivery: Delivery) -> dict[str, Any]:
    """What one try changes in the row: {"status", "error"}."""
    try:
        status = send(delivery)
    except AddressRefused as error:
        return {"status": None, "error": error.message[:300]}
    except (OSError, http.client.HTTPException) as error:
        return {"status": None, "error": f"{type(error).__name__}: {error}"[:300]}
    return {"status": status, "error": "" if 200 <= status < 300 else f"answered {status}"}


def _settle(delivery: Delivery, outcome: dict[str, Any]) -> bool:
    now = timezone.now()
    values = dict(outcome)
    if not outcome["error"]:
        values["delivered_at"] = now
    elif delivery.attempts >= MAX_ATTEMPTS:
        values["given_up_at"] = now
    else:
        values["next_try_at"] = now + timedelta(seconds=pause_s(delivery.attempts))
    Delivery.objects.filter(pk=delivery.pk).update(**values)
    return not outcome["error"]


def deliver_due() -> int:
    """Try everything that is due, some at a time; how many were delivered."""
    delivered = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        while due := _claim():
            allowed = [d for d in due if can_manage(d.webhook.user, d.webhook.collection)]
            for silent in set(due) - set(allowed):  # its maker may not hear of these any more
                silent.webhook.delete()
            for delivery, outcome in zip(allowed, pool.map(_outcome, allowed), strict=True):
                delivered += _settle(delivery, outcome)
    return delivered


def expire() -> int:
    """Forget what was told, or given up, two weeks ago; how many."""
    old = Delivery.objects.filter(created_at__lt=timezone.now() - KEPT)
    return old.exclude(delivered_at=None, given_up_at=None).delete()[0]
