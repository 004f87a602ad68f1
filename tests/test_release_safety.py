"""What must not happen to releases: weights written over, searches kept waiting, pictures lost."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from retrieval import releases
from retrieval.errors import StateConflict
from retrieval.models import Release
from segmentation import catalogue
from segmentation.checkpoints import import_checkpoint
from segmentation.errors import CheckpointError
from segmentation.manifest import Manifest
from tests import published
from tests.test_releases import second_weights
from workers import releasing

pytestmark = pytest.mark.django_db(transaction=True)


def silent(*_: object) -> None:
    """Progress that nobody looks at."""


# --- weights of a release are never written over -------------------------------------------------


def test_an_import_under_a_releases_name_leaves_its_weights(people, tmp_path):
    (file,) = published.write("bubbliiiing", tmp_path)
    mine = releases.register(second_weights("mine"))
    with pytest.raises(CommandError, match="'mine' is there already"):
        call_command("release", "import", str(file), "--labels=voc", "--name=mine")
    with pytest.raises(CommandError, match="'mine' is there already"):  # by the file's own name
        call_command("release", "import", str(file.rename(tmp_path / "mine.pth")), "--labels=voc")
    own = Manifest.load(releases.weights_of(mine))
    own.verify_weights()
    assert own.weights_sha256 == mine.weights_sha256


def test_what_a_broken_import_left_is_no_obstacle(people, tmp_path):
    (file,) = published.write("bubbliiiing", tmp_path)
    second_weights("left")  # files that no release has
    call_command("release", "import", str(file), "--labels=voc", "--name=left")
    left = Release.objects.get(name="left")
    assert Manifest.load(releases.weights_of(left)).weights_sha256 == left.weights_sha256


def test_an_installed_name_is_refused_before_anything_is_fetched(people, monkeypatch):
    name = catalogue.entries()[0].name
    mine = releases.register(second_weights(name))
    fetched: list[object] = []
    monkeypatch.setattr(catalogue, "fetch", lambda *args, **_: fetched.append(args))
    with pytest.raises(StateConflict, match="is there already"):
        releasing.install(silent, name=name)
    with pytest.raises(CheckpointError, match="choose another name"):
        catalogue.install(name, releases.weights_folder())
    assert not fetched
    assert Manifest.load(releases.weights_of(mine)).verify_weights()


def test_the_importer_writes_over_weights_only_when_asked_to(tmp_path):
    (file,) = published.write("bubbliiiing", tmp_path)
    target = tmp_path / "out"
    path = import_checkpoint(file, labels="voc", target_dir=target, name="mine")
    stamp = path.stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="choose another name"):
        import_checkpoint(file, labels="voc", target_dir=target, name="mine")
    assert path.stat().st_mtime_ns == stamp
    import_checkpoint(file, labels="voc", target_dir=target, name="mine", overwrite=True)
    assert path.stat().st_mtime_ns > stamp
