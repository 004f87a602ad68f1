"""Releases in the admin: what takes long is asked for, done by a worker, and shown with its progress."""

from __future__ import annotations

import io
import time
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone
from PIL import Image as Pillow

from retrieval import release_jobs, releases
from retrieval.models import Release, ReleaseJob
from tests import published
from tests.conftest import encoded, scene, start_worker, store
from tests.test_releases import second_weights, until_whole

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:retrieval_release_changelist"


@pytest.fixture
def staff(client, people):
    client.force_login(people["root"])
    return client


@pytest.fixture
def aside():
    """The worker that `make run` has for such tasks."""
    process = start_worker("releases")
    yield process
    process.terminate()
    process.wait(30)


def act(client, what: str, release: Release | None = None, **values: object) -> None:
    args = [release.pk] if release else []
    url = reverse(f"admin:retrieval_release_{what}", args=args)
    assert client.get(url).status_code == 200
    answer = client.post(url, {"confirmed": "1", **values})
    assert answer.status_code == 302, answer.content.decode()[:3000]


def ended(seconds: float = 60) -> ReleaseJob:
    """The newest task, once it ended."""
    end = time.monotonic() + seconds
    while (job := ReleaseJob.objects.first()).state == "queued":
        assert time.monotonic() < end, (job.kind, job.step)
        time.sleep(0.2)
    return job


def test_a_checkpoint_becomes_a_release_in_the_admin(staff, aside, tmp_path):
    (file,) = published.write("bubbliiiing", tmp_path)
    sent = SimpleUploadedFile("mine.pth", file.read_bytes())
    act(staff, "import_checkpoint", file=sent, labels="voc", layout="auto", name="mine")
    job = ended()
    assert job.state == "done", job.error_detail
    release = Release.objects.get(name="mine")
    assert (job.release, release.state, release.classes.count()) == (release, "filling", 21)
    assert not list((releases.weights_folder().parent / "incoming").iterdir()), "read and removed"
    page = staff.get(reverse(LIST)).content.decode()
    assert "Import a checkpoint" in page and "mine" in page

    broken = SimpleUploadedFile("broken.pth", file.read_bytes()[:5000])
    act(staff, "import_checkpoint", file=broken, labels="voc", layout="auto", name="broken")
    job = ended()
    assert job.state == "failed" and job.error_detail
    assert (
        job.error_detail[:40]
        in staff.get(reverse("admin:retrieval_release_tasks")).content.decode()
    )
    assert not Release.objects.filter(name="broken").exists()


def test_filled_promoted_compared_and_rolled_back_by_clicks(staff, aside, collection, worker):
    for seed in range(12):
        store(collection, encoded(scene(seed + 7000)), f"{seed}.jpg")
    starter = Release.objects.get(state="active")
    until_whole(starter)
    second = releases.register(second_weights())
    act(staff, "promote_release", second)
    assert "12 of 12 pictures are left" in ended().error_detail
    act(staff, "fill_release", second)
    until_whole(second)
    assert "12 / 12" in staff.get(reverse(LIST)).content.decode()
    act(staff, "compare_release", second, other=starter.pk, images=10)
    job = ended()
    assert job.state == "done" and job.result["pixel_agreement"] == 1.0
    sheet = staff.get(reverse("admin:retrieval_releasejob_sheet", args=[job.pk]))
    assert Pillow.open(io.BytesIO(sheet.content)).width > 900
    assert staff.get(reverse("admin:retrieval_releasejob_change", args=[job.pk])).status_code == 200
    act(staff, "promote_release", second)
    assert ended().state == "done" and Release.objects.get(state="active") == second
    act(staff, "roll_back")
    assert Release.objects.get(state="active") == starter
    act(staff, "retire_one", second)
    assert ended().state == "done"


def test_those_who_may_not_change_releases_cannot(client, people):
    user = people["ada"]
    user.is_staff = True
    user.save()
    client.force_login(user)
    for url in (
        reverse("admin:retrieval_release_install_published"),
        reverse("admin:retrieval_release_roll_back"),
        reverse("admin:retrieval_release_tasks"),
    ):
        assert client.post(url).status_code in (302, 403), url
    assert not ReleaseJob.objects.exists()


def test_one_task_at_a_time_and_none_is_lost(people):
    first = release_jobs.ask("promote", people["root"], name="x")
    second = release_jobs.ask("promote", people["root"], name="y")
    assert release_jobs.take() == first
    assert release_jobs.take() is None, "one at a time"
    past = timezone.now() - timedelta(seconds=1)
    ReleaseJob.objects.filter(pk=first.pk).update(taken_until=past)  # its worker was killed
    assert release_jobs.sweep() >= 1
    assert release_jobs.take() == first, "again"
    ReleaseJob.objects.filter(pk=first.pk).update(taken_until=past)
    release_jobs.sweep()
    first.refresh_from_db()
    assert first.state == "failed" and "twice" in first.error_detail
    assert release_jobs.take() == second
