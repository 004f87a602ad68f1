"""What must not happen to releases: weights written over, searches kept waiting, pictures lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from retrieval import releases
from retrieval.errors import StateConflict
from retrieval.models import Descriptor, Release
from retrieval.search.indexes import build_indexes, index_name, indexed_spaces
from retrieval.search.spaces import spaces_of
from segmentation import catalogue
from segmentation.checkpoints import import_checkpoint
from segmentation.errors import CheckpointError
from segmentation.manifest import Manifest
from tests import published
from tests.search_world import plant
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


# --- searches never wait for indexes -------------------------------------------------------------


@contextmanager
def table_held(mode: str) -> Iterator[None]:
    """Another session's transaction holds the table of vectors, as a long search or upload does."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE retrieval_descriptor IN {mode} MODE")
        yield
    finally:
        other.rollback()
        other.close()


class Aside(threading.Thread):
    """Does something on a connection of its own; `result` is what it gave, or what it raised."""

    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.does, self.result = does, None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.does()
        except Exception as error:
            self.result = error
        finally:
            connection.close()

    def ended(self) -> object:
        self.join(60)
        assert not self.is_alive()
        return self.result


def rows(text: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall()


def index_rows() -> set[str]:
    """All vector indexes there are, broken ones too."""
    return {str(row[0]) for row in rows("SELECT relname FROM pg_class WHERE relname ~ '^hnsw'")}


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def waiting() -> int:
    """How many sessions wait for a lock of a table or of a transaction."""
    return len(rows("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'"))


def searched() -> int:
    """What a search reads, in no more than three seconds."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '3s'")
        try:
            return Descriptor.objects.count()
        finally:
            cursor.execute("RESET statement_timeout")


@pytest.fixture
def planted(collection):
    """Twelve pictures that the active release describes; whatever indexes come go again."""
    plant(collection, 12, 31)
    yield Release.objects.get(state="active")
    with connection.cursor() as cursor:
        for name in index_rows():
            cursor.execute(f"DROP INDEX {name}")


def test_a_second_builder_waits_and_keeps_no_search_waiting(planted, settings):
    settings.EXACT_ROWS = 5
    with table_held("ROW EXCLUSIVE"):  # the first builder is kept waiting, its index not yet valid
        first = Aside(releases.build_where_needed)
        until(lambda: index_rows() and waiting())
        second = Aside(lambda: build_indexes(planted))
        time.sleep(1)
        assert searched() == 12
        assert releases.build_where_needed() == [], "a third returns at once"
        assert second.is_alive() and second.result is None
    made = first.ended()
    assert isinstance(made, list) and len(made) == 4, made
    assert second.ended() == [], "all was there when its turn came"
    assert len(indexed_spaces(planted)) == 4


def test_broken_indexes_are_built_anew_beside_searches(planted):
    made = build_indexes(planted)
    broken = index_name(spaces_of(planted)["context"], planted)
    rows(
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{broken}'::regclass RETURNING 1"
    )
    with table_held("ACCESS SHARE"):  # a long search
        mending = Aside(lambda: build_indexes(planted))
        time.sleep(1)
        assert searched() == 12
    assert broken in made and mending.ended() == [broken]
    assert len(indexed_spaces(planted)) == 4


def test_a_release_is_forgotten_beside_searches_with_its_broken_indexes(planted):
    made = build_indexes(planted)
    rows(
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{made[0]}'::regclass RETURNING 1"
    )
    with table_held("ACCESS SHARE"):
        forgetting = Aside(lambda: releases.forget(planted))
        time.sleep(1)
        assert searched() == 12
    assert forgetting.ended() == 12
    assert not index_rows()
