"""What must not happen to releases: weights written over, searches kept waiting, pictures lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from retrieval import releases
from retrieval.errors import StateConflict
from retrieval.models import Analysis, Descriptor, Image, Mask, Release
from retrieval.search.indexes import build_indexes, index_name, indexed_spaces
from retrieval.search.spaces import spaces_of
from retrieval.upload import PRIORITY_FILL, PRIORITY_UPLOAD
from segmentation import catalogue
from segmentation.checkpoints import import_checkpoint
from segmentation.checkpoints.importing import RANKING as UNFITTED
from segmentation.errors import CheckpointError
from segmentation.manifest import Manifest
from segmentation.whiten import store_whitening
from tests import published
from tests.conftest import encoded, scene, store
from tests.search_world import plant
from tests.test_releases import second_weights
from workers import fitting, releasing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unheard")]


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
    Release.objects.filter(pk=planted.pk).update(state="retired")
    with table_held("ACCESS SHARE"):
        forgetting = Aside(lambda: releases.forget(planted))
        time.sleep(1)
        assert searched() == 12
    assert forgetting.ended() == 12
    assert not index_rows()


def test_a_worker_that_records_while_its_release_is_forgotten_does_no_harm(planted):
    mask = Mask.objects.select_related("analysis").first()
    assert mask is not None
    Mask.objects.filter(pk=mask.pk).delete()
    written, go = threading.Event(), threading.Event()

    def record() -> None:
        with transaction.atomic():  # as queue.record: hold the row, write what was found, commit
            Analysis.objects.select_for_update().get(pk=mask.analysis_id)
            Mask.objects.bulk_create([mask])
            written.set()
            go.wait(30)

    Release.objects.filter(pk=planted.pk).update(state="retired")
    recording = Aside(record)
    assert written.wait(20)
    forgetting = Aside(lambda: releases.forget(planted))
    until(waiting)
    go.set()
    assert recording.ended() is None and forgetting.ended() == 12
    assert not Mask.objects.exists() and not Descriptor.objects.exists()


# --- a switch loses no picture -------------------------------------------------------------------


def active() -> Release:
    return Release.objects.get(state="active")


@pytest.fixture
def filled(planted) -> Release:
    """A second release that has done the twelve pictures too."""
    second = releases.register(second_weights())
    assert releases.fill(second) == 12
    Analysis.objects.filter(release=second).update(state="done")
    return second


def some(release: Release, count: int) -> list[int]:
    return list(Analysis.objects.filter(release=release).values_list("pk", flat=True)[:count])


def test_a_release_that_failed_or_has_not_seen_pictures_is_not_promoted(planted, filled):
    one, two, three = some(filled, 3)
    Analysis.objects.filter(pk__in=(one, two)).update(state="failed")
    assert releases.filled(filled).whole, "all have come to an end"
    with pytest.raises(StateConflict, match=r"2 of 12 pictures are left \(0 not .*; 2 failed"):
        releases.promote(filled)
    Analysis.objects.filter(pk=one).delete()
    Analysis.objects.filter(pk=three).update(state="queued")
    with pytest.raises(StateConflict, match=r"3 of 12 pictures are left \(1 not .*; 1 failed"):
        releases.promote(filled)
    assert active() == planted
    assert releases.promote(filled, force=True) == planted and active() == filled
    waiting = Analysis.objects.filter(release=filled, state="queued")
    assert list(waiting.values_list("priority", flat=True)) == [PRIORITY_UPLOAD] * 2


def test_a_picture_that_neither_has_done_keeps_nobody_from_promoting(planted, filled, collection):
    late = store(collection, encoded(scene(8100)), "late.jpg")
    analysis = Analysis.objects.get(image=late, release=filled)
    assert analysis.priority == PRIORITY_FILL
    assert releases.promote(filled) == planted
    analysis.refresh_from_db()
    assert (analysis.state, analysis.priority) == ("queued", PRIORITY_UPLOAD)


def test_pictures_that_came_while_indexes_were_built_are_counted(
    planted, filled, collection, monkeypatch
):
    monkeypatch.setattr(releases, "needs_indexes", lambda release: True)
    monkeypatch.setattr(releases, "build_indexes", lambda release: plant(collection, 1, 32))
    with pytest.raises(StateConflict, match="1 of 13 pictures are left"):
        releases.promote(filled)
    assert active() == planted


def test_a_release_promoted_twice_at_once_follows_not_itself(planted, filled, monkeypatch):
    def meanwhile(release: Release) -> None:
        monkeypatch.setattr(releases, "needs_indexes", lambda release: False)
        releases.promote(Release.objects.get(pk=release.pk))

    monkeypatch.setattr(releases, "needs_indexes", lambda release: True)
    monkeypatch.setattr(releases, "build_indexes", meanwhile)
    with pytest.raises(StateConflict, match="active already"):
        releases.promote(filled)
    assert active() == filled and active().followed == planted


def test_nothing_goes_back_to_a_release_whose_rows_were_deleted(planted, filled):
    releases.promote(filled)
    assert releases.retire(planted, delete_rows=True) == 12
    for force in (False, True):
        with pytest.raises(StateConflict, match="nothing to go back to"):
            releases.rollback(force)
    assert active() == filled
    with pytest.raises(StateConflict, match="promote another one first"):
        releases.forget(filled)
    assert Analysis.objects.filter(release=filled).count() == 12


def test_going_back_to_a_release_that_lacks_most_pictures_takes_force(planted, filled):
    releases.promote(filled)
    Analysis.objects.filter(pk__in=some(planted, 7)).delete()
    with pytest.raises(CommandError, match="starter lacks 7 of the 12 pictures that second has"):
        call_command("release", "rollback")
    assert active() == filled
    call_command("release", "rollback", "--force")
    assert active() == planted
    waiting = Analysis.objects.filter(release=planted, state="queued")
    assert list(waiting.values_list("priority", flat=True)) == [PRIORITY_UPLOAD] * 7


def test_going_back_is_quick_and_parses_what_came_since_like_uploads(
    planted, filled, collection, monkeypatch
):
    releases.promote(filled)
    plant(collection, 3, 33)  # done by the second release only
    switch, before = releases._way_back, []

    def seen() -> tuple[Release, Release]:
        before.append(Analysis.objects.filter(release=planted, priority=PRIORITY_UPLOAD).count())
        return switch()

    monkeypatch.setattr(releases, "_way_back", seen)
    assert releases.rollback() == (planted, filled)
    assert before == [0, 3], "queued before the switch"
    waiting = Analysis.objects.filter(release=planted, state="queued")
    assert list(waiting.values_list("priority", flat=True)) == [PRIORITY_UPLOAD] * 3
    assert Image.objects.count() == Analysis.objects.filter(release=planted).count() == 15


# --- fitting -------------------------------------------------------------------------------------


def test_a_picture_parsed_while_a_release_is_fitted_is_forgotten(collection, monkeypatch):
    weights = replace(second_weights("to-fit"), ranking=UNFITTED)
    weights.save(weights.folder)
    release = releases.register(weights)
    for seed in range(fitting.LEAST):
        store(collection, encoded(scene(seed + 8200, (96, 64))), f"{seed}.jpg")

    def slowly(*args: object) -> Manifest:
        late = store(collection, encoded(scene(8300, (96, 64))), "late.jpg")
        rows = Analysis.objects.filter(image=late, release=release)
        assert rows.update(state="done") == 1, "by the weights of before"
        return store_whitening(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "store_whitening", slowly)
    fitted = fitting.fit(release, sample=50, width=16)
    assert not Analysis.objects.filter(release=release).exists()
    assert releases.fill(release) == fitting.LEAST + 1
    shipped = Manifest.load("starter").ranking
    assert UNFITTED != shipped == {"context": 0.7, "layout": 0.1, "composition": 0.2}
    own = Manifest.load(releases.weights_of(fitted))
    assert fitted.ranking == own.ranking == shipped and own.context_width == 16
