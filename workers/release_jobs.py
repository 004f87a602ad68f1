"""Doing what was asked for about releases, one task after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import OperationalError, connection

from retrieval import release_jobs
from retrieval.errors import RetrievalError
from retrieval.models import Release, ReleaseJob
from segmentation.errors import SegmentationError
from workers import releasing

log = logging.getLogger("paysage.worker")
_REPORT_S = 0.5
_HOLD_S = 20.0


@contextmanager
def _held(job: ReleaseJob) -> Iterator[None]:
    """Hold the task's lease from another thread, as an index may take long to build in silence."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(_HOLD_S):
            try:
                release_jobs.hold(job)
            except OperationalError as error:
                log.warning("release task %s: %s", job.pk, error)
        connection.close()

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Reporter:
    """Writes progress to the row, at most twice a second."""

    def __init__(self, job: ReleaseJob) -> None:
        self.job, self.last, self.step = job, 0.0, ""

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step == self.step and time.monotonic() - self.last < _REPORT_S:
            return
        self.step, self.last = step, time.monotonic()
        release_jobs.report(self.job, step, done, total)


def _do(job: ReleaseJob) -> tuple[dict[str, Any], bytes | None]:
    progress = _Reporter(job)
    parameters = dict(job.parameters)
    if job.kind == "compare":
        return releasing.compared_sheet(progress, **parameters)
    does: dict[str, Callable[..., Any]] = {
        "import": releasing.import_file,
        "install": releasing.install,
        "fit": releasing.fit,
        "promote": releasing.promote,
        "retire": releasing.retire,
    }
    found = does[job.kind](progress, **parameters)
    if isinstance(found, Release):
        ReleaseJob.objects.filter(pk=job.pk).update(release=found)
        return releasing.row(found), None
    return found, None


def _clean(job: ReleaseJob) -> None:
    """Uploaded checkpoints are read once."""
    for key in ("file", "decoder"):
        if job.kind == "import" and job.parameters.get(key):
            Path(job.parameters[key]).unlink(missing_ok=True)


def run_all() -> int:
    """Do what waits; how many tasks ended, well or badly."""
    ended = 0
    while (job := release_jobs.take()) is not None:
        try:
            with _held(job):
                result, sheet = _do(job)
            release_jobs.finish(job, result, sheet)
        except (RetrievalError, SegmentationError, OSError) as error:
            release_jobs.fail(job, str(error))
        except OperationalError:
            raise  # the database went away: the task is taken again when its lease is over
        except Exception as error:
            log.exception("release task %s", job.pk)
            release_jobs.fail(job, repr(error))
        _clean(job)
        ended += 1
    return ended
