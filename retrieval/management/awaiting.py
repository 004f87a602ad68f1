"""Waiting for analyses from a command, with workers of its own where none are running."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from tqdm import tqdm

from retrieval import env, queue
from retrieval.doorbell import ring_now
from retrieval.embedded.services import die_with_parent
from retrieval.models import Analysis

_POLL_S = 0.2
_SWEEP_S = 10.0


def _consumers(queue_name: str) -> int:
    """How many workers listen to a queue: each waits for messages in one blocking BRPOP of Redis."""
    from celery import Celery

    app = Celery(broker=settings.REDIS_URL, set_as_current=False)
    try:
        found = app.control.inspect(timeout=1.0).active_queues() or {}
    except Exception:  # no broker, no consumers
        return 0
    return sum(any(q["name"] == queue_name for q in queues) for queues in found.values())


class _Workers:
    """Workers for some queues: those that are there, or one of our own for as long as we wait."""

    def __init__(self, queues: Sequence[str]) -> None:
        self.queues = queues
        self._child: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Start a worker for queues that nobody listens to; a platform may end while we wait."""
        if self._child is not None and self._child.poll() is None:
            return
        missing = [name for name in self.queues if not _consumers(name)]
        if missing:
            self._child = self._start(missing)
            for name in missing:
                ring_now(name)

    def _start(self, queues: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker"]
        command += ["-Q", ",".join(queues), "-c", "1", "-l", "WARNING"]
        command += ["-n", f"command-{uuid.uuid4().hex[:8]}@%h"]
        command += ["--without-gossip", "--without-mingle"]
        return subprocess.Popen(
            command, cwd=env.ROOT, stdout=sys.stderr, stderr=sys.stderr, preexec_fn=die_with_parent
        )

    def stop(self) -> None:
        """End ours."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@contextmanager
def workers_running(queues: Sequence[str]) -> Iterator[_Workers]:
    """Somebody listens to these queues while the block runs; `ensure` looks again."""
    workers = _Workers(queues)
    try:
        workers.ensure()
        yield workers
    finally:
        workers.stop()


def await_images(ids: Sequence[uuid.UUID], queues: Sequence[str] = ("bulk",)) -> Counter[str]:
    """Wait until the active release's analyses of these images are final; states and their counts."""
    rows = Analysis.objects.filter(image_id__in=ids, release__state="active")
    if not rows.exclude(state__in=Analysis.FINAL).exists():
        return Counter(rows.values_list("state", flat=True))
    with (
        workers_running(queues) as workers,
        tqdm(total=rows.count(), desc="parsing", unit="image", mininterval=1) as bar,
    ):
        for name in queues:
            ring_now(name)
        swept = time.monotonic()
        while True:
            states = Counter(rows.values_list("state", flat=True))
            waiting = states["queued"] + states["running"]
            bar.update(bar.total - waiting - bar.n)
            if not waiting:
                return states
            if time.monotonic() - swept > _SWEEP_S:  # a worker of ours has no scheduler beside it
                queue.sweep()
                workers.ensure()
                swept = time.monotonic()
            time.sleep(_POLL_S)
