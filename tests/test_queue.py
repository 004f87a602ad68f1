"""Nothing is lost: killed workers, late workers, poisoned pictures, dead brokers."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.db import OperationalError, connection
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


def crash() -> queue.Swept:
    """Whatever is claimed has no worker any more."""
    over = timezone.now() - timedelta(seconds=1)
    Analysis.objects.filter(state="running").update(lease_until=over)
    return queue.sweep()


def test_of_a_crashed_batch_the_poison_alone_is_quarantined(collection, unrung):
    fill(collection, 16)
    poison = Analysis.objects.order_by("id")[5].pk
    sizes = []
    for _ in range(40):
        token, rows = queue.claim("bulk", 8, "test", 60)
        if not rows:
            break
        # as `pipeline.drain` does: the next claim while this one is worked on
        if not any(row.attempts > 1 for row in rows):
            queue.claim("bulk", 8, "test", 60, beside=True)
        sizes.append(len(rows))
        if poison in {row.id for row in rows}:
            crash()
        else:
            for row in rows:
                assert queue.finish(token, row, "failed", "test", "as good as done")
            crash()
    states = dict(Analysis.objects.values_list("id", "state"))
    assert [pk for pk, state in states.items() if state == "quarantined"] == [poison]
    assert set(states.values()) == {"quarantined", "failed"}
    assert sizes[0] == 8 and max(sizes[1:]) <= 4
    ended = Analysis.objects.get(pk=poison)
    assert (ended.error_code, ended.attempts) == ("worker_killed", 3)


def test_nothing_is_claimed_beside_work_at_hand_that_was_in_a_crash(collection, unrung):
    fill(collection, 6)
    queue.claim("bulk", 2, "test", 60)
    crash()
    assert queue.claim("bulk", 8, "test", 60, beside=True)[1] == []
    assert {row.attempts for row in queue.claim("bulk", 1, "test", 60)[1]} == {2}


def poisoned(collection, monkeypatch, stage: str, error: Exception) -> tuple[int, set[str]]:
    """Drain with one picture of five whose parse raises in the stage; codes of what failed."""
    from segmentation.stream import DevicePicture, Stream
    from workers import pipeline

    fill(collection, 4)
    bad = store(collection, encoded(scene(77, (400, 100))), "wide.jpg")

    def check(wrong: bool) -> None:
        if wrong:
            raise error

    def is_wide(size: tuple[int, int]) -> bool:
        return size[1] > 2 * size[0]

    if stage == "network":
        parse = Stream.__call__

        def call(self, groups):
            groups = [list(group) for group in groups]
            check(any(is_wide(one.mask_size) for group in groups for one in group))
            return parse(self, groups)

        monkeypatch.setattr(Stream, "__call__", call)
    elif stage == "describe":
        describe = DevicePicture.describe

        def describe_or_not(self):
            found = describe(self)
            check(is_wide(found.mask.shape))
            return found

        monkeypatch.setattr(DevicePicture, "describe", describe_or_not)
    else:
        record = queue.record

        def record_or_not(token, batch):
            check(bad.pk in {found.row.image_id for found in batch})
            return record(token, batch)

        monkeypatch.setattr(queue, "record", record_or_not)
    done = pipeline.drain("bulk")
    failed = Analysis.objects.filter(image=bad, state="failed")
    return done, {row.error_code for row in failed}


@pytest.mark.parametrize("stage", ["network", "describe", "record"])
def test_a_fault_that_repeats_ends_the_picture_and_no_other(
    collection, unheard, monkeypatch, stage
):
    assert poisoned(collection, monkeypatch, stage, ValueError("as always")) == (
        4,
        {"analysis_error"},
    )
    assert not leases()


def test_a_picture_too_large_for_the_memory_fails_with_a_code(collection, unheard, monkeypatch):
    from segmentation.errors import DeviceOutOfMemory

    error = DeviceOutOfMemory("The device has not enough memory.")
    assert poisoned(collection, monkeypatch, "network", error) == (4, {"out_of_memory"})


def test_a_database_that_is_gone_costs_no_attempt(collection, unheard, monkeypatch):
    with pytest.raises(OperationalError):
        poisoned(collection, monkeypatch, "record", OperationalError("gone"))
    rows = Analysis.objects.filter(collection=collection)
    assert {(row.state, row.attempts) for row in rows} == {("queued", 0)}


def test_memory_that_is_short_while_decoding_is_no_fault_of_the_picture(
    collection, unheard, monkeypatch
):
    from workers import pipeline

    decode, calls = pipeline.decode, []

    def short_at_first(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return decode(*args, **kwargs)

    monkeypatch.setattr(pipeline, "decode", short_at_first)
    fill(collection, 3)
    assert pipeline.drain("bulk") == 3


def found_of(row: queue.Claimed) -> queue.Found:
    """What the real network finds of a claimed row."""
    from segmentation.stream import Stream
    from workers.pipeline import load_parser, make_ready

    parser = load_parser(row.release_id)
    ready = make_ready(row, parser)
    (pictures,) = Stream(parser)([[ready.prepared]])
    description = pictures[0].describe()
    png = description.mask_png(parser.manifest.palette)
    return queue.Found(row, description, png, ready.thumbs)


def verified() -> list[str]:
    from retrieval.management.commands.verify import row_problems

    return row_problems()


def test_a_picture_moved_while_it_is_parsed_is_recorded_where_it_is_now(collection, unrung):
    from retrieval import bulk
    from retrieval.models import Image
    from retrieval.services import create_collection

    token, rows = claimed(collection, 2)
    found = [found_of(row) for row in rows]
    target = create_collection(collection.owner, "elsewhere")
    moved = Image.objects.filter(pk=rows[0].image_id)
    bulk.move(collection.owner, moved, target)
    assert queue.record(token, found) == 2
    for model in (Mask, Descriptor, Region, ClassArea):
        homes = set(model.objects.filter(image=rows[0].image_id).values_list("collection"))
        assert homes == {(target.pk,)}
    assert verified() == []
    # parsed again, it has thumbnails below its new place, and the old ones are gone
    old = moved.get().thumb_256.path
    bulk.parse_again(collection.owner, moved)
    token, rows = queue.claim("bulk", 1, "test", 60)
    assert queue.record(token, [found_of(rows[0])]) == 1
    assert not Path(old).exists() and Path(moved.get().thumb_256.path).exists()


def test_a_picture_deleted_while_it_is_parsed_leaves_no_thumbnails(collection, unrung):
    from django.core.files.storage import default_storage

    from retrieval.models import Image
    from retrieval.services import remove_images

    token, rows = claimed(collection, 2)
    found = [found_of(row) for row in rows]
    remove_images(list(Image.objects.filter(pk=rows[0].image_id)))
    assert all(default_storage.exists(name) for name in found[0].thumbs)
    assert queue.record(token, found) == 1
    assert not any(default_storage.exists(name) for name in found[0].thumbs)
    assert all(default_storage.exists(name) for name in found[1].thumbs)


def test_rows_of_another_collection_are_told(collection, unrung):
    from retrieval.services import create_collection

    token, rows = claimed(collection)
    queue.record(token, [found_of(rows[0])])
    target = create_collection(collection.owner, "elsewhere")
    Mask.objects.update(collection=target)
    assert verified() == [f"{rows[0].image_id}: Mask of another collection"]


def test_a_rejection_that_does_not_stand_sets_no_date(collection, unrung):
    from retrieval.models import Image
    from retrieval.queue import start_over

    token, rows = claimed(collection)
    assert queue.finish(token, rows[0], "rejected", "image_truncated", "cut")
    assert Image.objects.get().expires_at is not None
    start_over(Analysis.objects.all())
    token, rows = queue.claim("bulk", 1, "test", 60)
    assert queue.record(token, [found_of(rows[0])]) == 1
    assert Image.objects.get().expires_at is None


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
