"""Faults of the machine: a full disk, an old data directory, a worker told to stop in mid-batch."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from retrieval import queue, upload
from retrieval.doorbell import ring_now
from retrieval.errors import StorageFull
from retrieval.ids import new_id
from retrieval.models import Analysis, Image
from tests.conftest import encoded, scene, start_worker, store
from tests.platform import free_port, serve
from tests.test_queue import fill, until_quiet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_507_and_keeps_nothing(collection, client, monkeypatch):
    """The spool file is a link to /dev/full, so it is the kernel that says ENOSPC."""
    known = new_id()
    spool = upload.staging() / known.hex
    spool.symlink_to("/dev/full")
    monkeypatch.setattr(upload, "new_id", lambda: known)
    with pytest.raises(StorageFull) as caught:
        store(collection, encoded(scene(1)))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert not Image.objects.exists() and not spool.is_symlink()

    spool.symlink_to("/dev/full")
    client.force_login(collection.owner)
    picture = Path(os.environ["PAYSAGE_HOME"]) / "full.jpg"
    picture.write_bytes(encoded(scene(2)))
    with picture.open("rb") as file:
        answer = client.post("/api/v1/images", {"file": file, "collection": collection.pk})
    assert answer.status_code == 507
    assert answer.json()["error"]["code"] == "storage_full"
    assert not Image.objects.exists() and not spool.is_symlink()


def test_an_old_data_directory_gets_a_clear_answer(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    process = serve(tmp_path, free_port(), "--no-demo")
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "was written by PostgreSQL 12" in said and "restore a backup" in said
    assert "Traceback" not in said


def own_rows(process: subprocess.Popen[bytes]) -> list[Analysis]:
    """Running rows that a child of this worker claimed."""
    pids = {str(p.pid) for p in psutil.Process(process.pid).children(recursive=True)}
    running = Analysis.objects.filter(state="running")
    return [row for row in running if row.worker.rsplit(":", 1)[-1] in pids]


def test_sigterm_in_mid_batch_finishes_or_releases(collection, settings):
    until_quiet(settings.REDIS_URL)
    settings.REDIS_URL = settings.REDIS_URL.removesuffix("/0") + "/2"
    fill(collection, 120)
    worker = start_worker("bulk", REDIS_URL=settings.REDIS_URL)
    try:
        ring_now("bulk")
        deadline = time.monotonic() + 90
        while not own_rows(worker):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        asked = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)
        assert time.monotonic() - asked < 20
    finally:
        worker.kill()
    rows = Analysis.objects.filter(collection=collection)
    assert not rows.filter(state="running").exists()
    assert rows.filter(state="queued").exists(), "it went on to the end of the queue"
    assert not rows.filter(state="queued", attempts__gt=0).exists()
    assert not rows.exclude(state__in=("queued", "done")).exists()
    assert queue.sweep().requeued == 0
