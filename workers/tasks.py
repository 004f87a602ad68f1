"""Tasks, all without arguments: the rows say what there is to do."""

from __future__ import annotations

import logging
import threading

from celery import shared_task
from django.db import OperationalError, close_old_connections

from retrieval import (
    doorbell,
    idempotency,
    queue,
    release_jobs,
    releases,
    resumable,
    services,
    sheets,
)
from retrieval.webhooks import delivery

log = logging.getLogger("paysage.worker")
_measuring = threading.Lock()
"""Held while statistics are measured: their worker has several threads, and once is enough."""


@shared_task(name="paysage.bulk")
def bulk() -> None:
    """Parse whatever waits in the bulk queue."""
    _drain("bulk")


@shared_task(name="paysage.query")
def query() -> None:
    """Parse whatever waits in the query queue, then draw the sheets that people asked for."""
    _drain("query")
    from workers.sheets import draw_all

    draw_all()


def _drain(name: str) -> None:
    # Imported here: only the child that parses loads torch.
    from workers.pipeline import drain

    close_old_connections()
    done = drain(name)
    if done:
        log.info("%s: %d pictures", name, done)
    if queue.waiting(name):  # its turn was over before the queue was empty
        doorbell.ring_now(name)


@shared_task(name="paysage.sweep")
def sweep() -> None:
    """Requeue lost rows and ring for waiting ones."""
    close_old_connections()
    try:
        swept = queue.sweep()
        sheets.sweep()
        release_jobs.sweep()
    except OperationalError as error:
        log.warning("sweep: %s", error)
        return
    if swept.requeued or swept.quarantined:
        log.warning("sweep: %d requeued, %d quarantined", swept.requeued, swept.quarantined)


@shared_task(name="paysage.expire")
def expire() -> None:
    """Remove query pictures, deleted pictures, rejected originals and uploads whose time is over."""
    close_old_connections()
    services.expire_images()
    resumable.expire()
    idempotency.expire()
    delivery.expire()


@shared_task(name="paysage.indexes")
def indexes() -> None:
    """Build search indexes that a release has outgrown doing without."""
    close_old_connections()
    try:
        made = releases.build_where_needed()
    except OperationalError as error:
        log.warning("indexes: %s", error)
        return
    if made:
        log.info("indexes built: %s", ", ".join(made))


@shared_task(name="paysage.statistics")
def statistics() -> None:
    """Measure anew what has grown: percentiles, recall, charts, duplicates, maps."""
    from workers.statistics import refresh

    if not _measuring.acquire(blocking=False):
        return
    try:
        close_old_connections()
        refresh()
    except OperationalError as error:
        log.warning("statistics: %s", error)
    finally:
        _measuring.release()


@shared_task(name="paysage.hooks")
def hooks() -> None:
    """Tell webhooks what is due. Its queue has a worker of its own: receivers may be slow."""
    close_old_connections()
    try:
        delivery.deliver_due()
    except OperationalError as error:
        log.warning("hooks: %s", error)


@shared_task(name="paysage.releases", soft_time_limit=None, time_limit=None)
def release_tasks() -> None:
    """Do what was asked for about releases in the admin."""
    from workers.release_jobs import run_all

    close_old_connections()
    try:
        run_all()
    except OperationalError as error:
        log.warning("releases: %s", error)
    finally:
        close_old_connections()
