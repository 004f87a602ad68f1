"""Nothing is lost: killed workers, late workers, poisoned pictures, dead brokers."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import psutil
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from retrieval import queue
from retrieval.doorbell import ring_now
from retrieval.models import Analysis, ClassArea, Descriptor, Mask, Region
from tests.conftest import await_final, encoded, scene, start_worker, store, until_quiet

pytestmark = pytest.mark.django_db(transaction=True)


def fill(collection, count: int) -> None:
    for seed in range(count):
        store(collection, encoded(scene(seed + 1000)), f"{seed}.jpg")


def test_kill_9_in_mid_batch_loses_nothing(collection, settings):
    until_quiet(settings.REDIS_URL)
    # a broker database of its own, so that no other worker is rung
    settings.REDIS_URL = settings.REDIS_URL.removesuffix("/0") + "/1"
    fill(collection, 40)
    rows = Analysis.objects.filter(collection=collection)
    first = start_worker("bulk", REDIS_URL=settings.REDIS_URL)
    ring_now("bulk")
    deadline = time.monotonic() + 60
    while not rows.filter(state="running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # parent and child at once: the child has a process group of its own
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in family:
        process.kill()
    first.wait()
    assert rows.filter(state="running").exists()
    restarted = time.monotonic()
    second = start_worker("bulk", REDIS_URL=settings.REDIS_URL)
    try:
        while rows.exclude(state="done").exists():
            assert time.monotonic() - restarted < 120, list(rows.values_list("state", "attempts"))
            queue.sweep()
            time.sleep(0.5)
    finally:
        second.terminate()
        second.wait(30)
    assert rows.filter(attempts=2).exists()
    for model in (Mask, Descriptor):
        assert model.objects.count() == 40


def test_a_picture_is_described_in_full(collection, worker):
    image = store(collection, encoded(scene(1)))
    assert await_final(image).state == "done"
    areas = ClassArea.objects.filter(image=image).values_list("fraction", flat=True)
    assert abs(sum(areas) - 1) < 1e-4
    regions = Region.objects.filter(image=image)
    assert abs(sum(r.area for r in regions) - 1) < 1e-4
    # the context is exactly the sum of its regions
    import numpy as np

    total = sum(r.area * r.norm * np.asarray(r.vector) for r in regions)
    context = np.asarray(Descriptor.objects.get(image=image).context)
    assert total @ context / np.linalg.norm(total) > 0.9995
    image.refresh_from_db()
    assert image.thumb_256.size and image.thumb_1024.size


@pytest.fixture
def unrung(settings) -> None:
    """No broker: rows stay for the test to claim."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"


def claimed(collection, count: int = 1):
    fill(collection, count)
    return queue.claim("bulk", count, "test", 60)


class Nothing:
    """A description that may not be read."""


def test_a_late_worker_writes_nothing(collection, unrung):
    token, rows = claimed(collection)
    Analysis.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert queue.sweep().requeued == 1
    found = queue.Found(rows[0], Nothing(), b"", ("", ""))
    assert queue.record(token, [found]) == 0
    assert not queue.finish(token, rows[0], "failed", "x", "y")
    assert Analysis.objects.get().state == "queued" and not Mask.objects.exists()


def test_a_crashed_batch_comes_back_in_halves_until_the_poison_is_alone(collection, unrung):
    _, rows = claimed(collection, 8)
    assert len(rows) == 8
    sizes = []
    for _ in range(2):
        Analysis.objects.filter(state="running").update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
        queue.sweep()
        _, rows = queue.claim("bulk", 8, "test", 60)
        sizes.append(len(rows))
    assert sizes == [4, 2]
    Analysis.objects.filter(state="running").update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    assert queue.sweep().quarantined == 2
    ended = Analysis.objects.filter(state="quarantined")
    assert set(ended.values_list("error_code", flat=True)) == {"worker_killed"}


def test_releasing_spends_no_attempt(collection, unrung):
    token, _ = claimed(collection)
    assert queue.release(token) == 1
    row = Analysis.objects.get()
    assert (row.state, row.attempts, row.lease_token) == ("queued", 0, None)


def test_two_claims_at_once_are_disjoint(collection, unrung):
    fill(collection, 10)
    taken: list[set[int]] = []

    def take() -> None:
        taken.append({row.id for row in queue.claim("bulk", 5, "test", 60)[1]})
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken[0]) == len(taken[1]) == 5 and not taken[0] & taken[1]


def test_an_upload_does_not_need_redis(collection, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    started = time.monotonic()
    image = store(collection, encoded(scene(3)))
    assert time.monotonic() - started < 2
    assert Analysis.objects.get(image=image).state == "queued"


def test_a_missing_and_an_altered_original_fail_with_a_code(collection, worker):
    from pathlib import Path

    codes = []
    for seed, harm in ((4, Path.unlink), (5, lambda path: path.write_bytes(b"altered"))):
        data = encoded(scene(seed))
        image = store(collection, data)
        harm(Path(image.original.path))
        codes.append(await_final(image).error_code)
    assert codes == ["original_missing", "original_corrupt"]


def test_the_same_upload_from_two_threads_is_one_row(collection):
    data, found = encoded(scene(6)), []

    def upload() -> None:
        found.append(store(collection, data).pk)
        connection.close()

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1


def leases() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_release_whose_weights_are_gone_keeps_no_other_from_parsing(collection, unheard):
    from retrieval import releases
    from tests.test_releases import second_weights
    from workers.pipeline import drain

    broken = second_weights("broken")
    second = releases.register(broken)
    broken.weights_path.write_bytes(b"not the weights")
    fill(collection, 3)
    releases.fill(second)
    assert drain("bulk") == 3
    first = Analysis.objects.filter(collection=collection).exclude(release=second)
    assert {row.state for row in first} == {"done"}
    others = Analysis.objects.filter(release=second)
    assert {(row.state, row.error_code) for row in others} == {("failed", "weights_unusable")}
    assert "broken.safetensors" in others[0].error_detail
    assert not leases(), "none is renewed for ever"


def test_a_claim_that_cannot_be_begun_is_given_back(collection, unheard, monkeypatch):
    from workers import pipeline

    fill(collection, 3)

    def full(_: int) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "load_parser", full)
    with pytest.raises(MemoryError):
        pipeline.drain("bulk")
    rows = Analysis.objects.filter(collection=collection)
    assert {(row.state, row.attempts) for row in rows} == {("queued", 0)}
    assert not leases()


def test_a_turn_ends_before_the_queue_is_empty(collection, unheard, monkeypatch):
    from workers import pipeline

    fill(collection, 2 * settings.BATCH)
    monkeypatch.setattr(pipeline, "_TURN_S", 0.0)
    assert pipeline.drain("bulk") < 2 * settings.BATCH
    assert queue.waiting("bulk")
