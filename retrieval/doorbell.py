"""Waking workers: a message without work in it, sent after commit. The database row is the truth."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache

from celery import Celery
from django.conf import settings
from django.db import transaction

log = logging.getLogger("paysage.doorbell")

TASKS = {name: f"paysage.{name}" for name in ("bulk", "query", "hooks", "releases")}


@lru_cache(maxsize=2)
def _producer(url: str) -> Celery:
    app = Celery("doorbell", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {
        "socket_connect_timeout": 0.5,
        "socket_timeout": 0.5,
        "max_retries": 0,
    }
    app.conf.broker_connection_retry = False
    return app


def _send(queue: str) -> None:
    try:
        _producer(settings.REDIS_URL).send_task(
            TASKS[queue], queue=queue, retry=False, ignore_result=True, expires=3600
        )
    except Exception as error:  # whatever the broker does, the upload stands and the sweeper rings
        log.warning("doorbell %s not rung: %s", queue, error)


def ring(queue: str) -> None:
    """Ring once the current transaction is committed; never fails, never keeps the caller waiting."""
    transaction.on_commit(
        lambda: threading.Thread(target=_send, args=(queue,), daemon=True).start()
    )


def ring_now(queue: str) -> None:
    """Ring at once and wait for the broker; for the sweeper."""
    _send(queue)
