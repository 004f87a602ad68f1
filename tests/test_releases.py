"""Releases side by side: filled behind the active one, promoted, compared, rolled back, under search."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from PIL import Image as Pillow

from retrieval import queue, releases, services
from retrieval.doorbell import ring_now
from retrieval.errors import FieldInvalid, NotFound, StateConflict
from retrieval.models import Analysis, Descriptor, Image, Mask, Release
from retrieval.search.indexes import indexed_spaces
from retrieval.starter import ensure_starter_release, newer_weights_shipped
from segmentation.describe import Whitening
from segmentation.manifest import WEIGHTS_DIR, Manifest
from segmentation.whiten import store_whitening
from tests.conftest import SHARED, encoded, scene, store

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 24


def second_weights(name: str = "second", width: int = 64) -> Manifest:
    """The shipped network with a projection of another width, as imported weights would lie there."""
    folder = releases.weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    starter = Manifest.load("starter")
    shutil.copy(starter.weights_path, folder / f"{name}.safetensors")
    path = replace(starter, name=name, weights_file=f"{name}.safetensors").save(folder)
    from segmentation.predict import Parser

    whitening = Parser.load("starter").whitening
    assert whitening.matrix is not None
    return store_whitening(path, Whitening(whitening.mean, whitening.matrix[:width]))


def until_whole(release: Release, seconds: float = 120) -> None:
    ring_now("bulk")
    deadline = time.monotonic() + seconds
    while not releases.filled(release).whole:
        assert time.monotonic() < deadline, releases.filled(release)
        queue.sweep()
        time.sleep(0.2)


@pytest.fixture
def world(collection, worker):
    """A collection parsed by the starter release."""
    for seed in range(COUNT):
        store(collection, encoded(scene(seed + 4000)), f"{seed}.jpg")
    starter = Release.objects.get(state="active")
    until_whole(starter)
    return collection, starter


@pytest.fixture
def large_world(collection, worker):
    """The same with the 900 photographs of scenes, where they are."""
    files = sorted((SHARED / "scenes").rglob("*.jpg")) if SHARED.is_dir() else []
    if files:
        for file in files:
            store(collection, file.read_bytes(), file.name)
    else:
        for seed in range(COUNT):
            store(collection, encoded(scene(seed + 4000)), f"{seed}.jpg")
    starter = Release.objects.get(state="active")
    until_whole(starter, 600)
    return collection, starter, len(files) or COUNT


class Searcher(threading.Thread):
    """Searches by REST until told to stop, and keeps what was wrong and which releases answered."""

    def __init__(self, user, image: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(headers={"Authorization": f"Token {services.create_token(user, 's')}"})
        self.body = json.dumps({"like": [{"image": image}], "limit": 10})
        self.over, self.wrong, self.answered = threading.Event(), [], []

    def run(self) -> None:
        while not self.over.is_set():
            answer = self.client.post("/api/v1/searches", self.body, "application/json")
            values = answer.json()
            if answer.status_code != 200 or len(values["results"]) != 10:
                self.wrong.append(values)
            else:
                self.answered.append(values["plan"]["release"])
        connection.close()

    def stop(self) -> None:
        self.over.set()
        self.join(20)


def test_filled_promoted_compared_and_rolled_back_while_searched(large_world, tmp_path):
    from workers.comparing import compare, difference_sheet

    collection, starter, count = large_world
    searcher = Searcher(collection.owner, str(Image.objects.first().pk))
    searcher.start()
    try:
        second = releases.register(second_weights())
        with pytest.raises(StateConflict, match=f"{count} of {count} pictures are left"):
            releases.promote(second)
        assert releases.fill(second) == count
        assert releases.fill(second) == 0, "a second call asks for nothing twice"
        late = store(collection, encoded(scene(4999)), "late.jpg")  # uploaded while it is filled
        assert set(
            Analysis.objects.filter(image=late).values_list("release__name", "priority")
        ) == {
            ("starter", 10),
            ("second", 0),
        }
        until_whole(second, 600)
        assert releases.promote(second) == starter
        second.refresh_from_db()
        seen = len(searcher.answered)
        while len(searcher.answered) < seen + 5 and searcher.is_alive():
            time.sleep(0.05)
        assert releases.rollback() == (starter, second)
        seen = len(searcher.answered)
        while len(searcher.answered) < seen + 5 and searcher.is_alive():
            time.sleep(0.05)
    finally:
        searcher.stop()
    assert not searcher.wrong, searcher.wrong[:2]
    names = [
        name
        for place, name in enumerate(searcher.answered)
        if searcher.answered[place - 1 : place] != [name]
    ]
    assert names == ["starter", "second", "starter"], "each answer is of one release, in this order"

    found = compare(starter, second, collection, sample=count + 1)
    assert found.images == count + 1 and found.pixel_agreement == 1.0 and found.miou == 1.0
    assert 0.3 < found.top10_overlap < 1.0
    sheet = Pillow.open(difference_sheet(found, starter, second, tmp_path / "sheet.png"))
    assert sheet.width > 900 and np.asarray(sheet).std() > 10

    widths = {
        release.name: len(list(Descriptor.objects.filter(release=release).first().context))
        for release in (starter, second)
    }
    assert widths == {"starter": 256, "second": 64}
    removed = releases.retire(second, delete_rows=True)
    assert removed == count + 1 and not Mask.objects.filter(release=second).exists()
    assert Mask.objects.filter(release=starter).count() == count + 1


def test_an_outgrown_release_gets_its_indexes_by_itself(world, settings):
    _, starter = world
    assert releases.build_where_needed() == []
    settings.EXACT_ROWS = COUNT - 1
    made = releases.build_where_needed()
    try:
        assert {"context", "layout", "composition"} <= indexed_spaces(starter)
        assert releases.build_where_needed() == []
    finally:
        with connection.cursor() as cursor:
            for name in made:
                cursor.execute(f"DROP INDEX {name}")


def test_what_cannot_be_is_refused_in_words(people):
    starter = Release.objects.get(state="active")
    with pytest.raises(StateConflict, match="active already"):
        releases.promote(starter)
    with pytest.raises(StateConflict, match="promote another"):
        releases.retire(starter)
    with pytest.raises(StateConflict, match="followed no other"):
        releases.rollback()
    with pytest.raises(StateConflict, match="already"):
        releases.register(Manifest.load(WEIGHTS_DIR / "starter.json"))
    with pytest.raises(NotFound, match="starter"):
        releases.release_named("startr")
    for name in ("../x", ".hidden", "", "a/b"):
        with pytest.raises(FieldInvalid):
            releases.check_name(name)


def test_the_command_lists_and_fits(world, capsys):
    from workers.fitting import fit

    call_command("release", "list", "--json")
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["releases"]
    assert [(r["name"], r["state"], r["whole"]) for r in listed] == [("starter", "active", True)]

    with pytest.raises(StateConflict, match="before it answers"):
        fit(Release.objects.get(name="starter"))
    fitted = releases.register(second_weights("to-fit"))
    with pytest.raises(StateConflict, match="50 pictures or more"):
        fit(fitted)
    collection, _ = world
    for seed in range(30):  # parsed by both releases, as uploads are while one fills
        store(collection, encoded(scene(seed + 6000, (96, 64))), f"small {seed}.jpg")
    once = fit(fitted, sample=50, width=16)
    assert once.context_width == 16
    assert not Analysis.objects.filter(release=fitted).exists(), "what the old vectors gave is gone"
    assert Manifest.load(releases.weights_of(once)).weights_sha256 == once.weights_sha256
    digest = once.weights_sha256
    assert fit(fitted, sample=50, width=16).weights_sha256 == digest, "the same seed, the same fit"


def test_exported_weights_become_a_release_of_their_own(collection, tmp_path):
    starter = Manifest.load("starter")
    shutil.copy(starter.weights_path, tmp_path)
    mine = replace(starter, name="mine").save(tmp_path)
    call_command("release", "import", str(mine))
    release = Release.objects.get(name="mine")
    own = Manifest.load(releases.weights_of(release))
    assert release.state == "filling" and own.folder == releases.weights_folder()
    assert own.verify_weights().name == "mine.safetensors"
    with pytest.raises(CommandError, match="'mine' is there already"):
        call_command("release", "import", str(mine))
    call_command("release", "import", str(mine), "--name=other")
    (tmp_path / starter.weights_file).write_bytes(b"altered")
    with pytest.raises(CommandError, match=r"starter\.safetensors"):
        call_command("release", "import", str(mine), "--name=third")
    with pytest.raises(CommandError, match="--labels"):
        call_command("release", "import", "some.pth")
    assert set(Release.objects.values_list("name", flat=True)) == {"starter", "mine", "other"}


def test_an_upgrade_with_other_weights_leaves_releases_as_they_are(
    collection, tmp_path, monkeypatch
):
    starter = Release.objects.get(name="starter")
    assert not newer_weights_shipped()
    shipped = tmp_path / "weights"
    shipped.mkdir()
    other = second_weights("other")
    shutil.copy(other.weights_path, shipped)
    replace(other, name="starter").save(shipped)
    monkeypatch.setattr(
        "segmentation.manifest.WEIGHTS_DIR", shipped
    )  # as if a new version lay there

    assert newer_weights_shipped()
    own = Manifest.load(releases.weights_of(starter))
    assert own.verify_weights().parent == releases.weights_folder()
    assert own.weights_sha256 == starter.weights_sha256 != other.weights_sha256
    call_command("release", "import", "starter", "--name=starter-2")
    assert Release.objects.get(name="starter-2").weights_sha256 == other.weights_sha256
    assert not newer_weights_shipped()


def test_a_platform_from_before_copies_were_kept_goes_on(collection):
    starter = Release.objects.get(name="starter")
    image = store(collection, encoded(scene(4400)))
    kept = [releases.weights_folder() / f"starter.{kind}" for kind in ("json", "safetensors")]
    for path in kept:
        path.unlink()
    assert ensure_starter_release() == starter and all(path.exists() for path in kept)

    for path in kept:
        path.unlink()
    Release.objects.filter(pk=starter.pk).update(weights_sha256="0" * 64)  # of an older version
    new = ensure_starter_release()
    starter.refresh_from_db()
    assert (starter.state, new.state) == ("retired", "active") and new.name.startswith("starter-")
    assert Analysis.objects.filter(release=new, image=image, state="queued").exists()
    assert Manifest.load(releases.weights_of(new)).weights_sha256 == new.weights_sha256
    assert ensure_starter_release() == new
