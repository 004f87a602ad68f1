"""Releases side by side: registering, filling, promoting, going back, retiring.

One release is active and answers every search. Another may be filled behind it: each picture gets an
analysis by it, below new uploads in priority. Promotion swaps the two in one transaction, so a search sees
the one or the other and never a half-filled one.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from retrieval.doorbell import ring
from retrieval.errors import FieldInvalid, NotFound, StateConflict
from retrieval.lacking import lacking
from retrieval.models import Analysis, Descriptor, Image, Release
from retrieval.search.indexes import alone, build_indexes, drop_indexes, indexed_spaces
from retrieval.search.spaces import spaces_of
from retrieval.services import register_release
from retrieval.upload import PRIORITY_FILL, PRIORITY_UPLOAD
from segmentation.manifest import Manifest

_BLOCK = 10_000
_LOCK = 7_310_002
"""Key of the advisory lock that a switch of releases holds."""


def weights_folder() -> Path:
    """Where imported weights lie: PAYSAGE_HOME/weights."""
    return Path(settings.HOME) / "weights"


def release_named(name: str) -> Release:
    """By name; NotFound naming those that are there."""
    found = Release.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Release.objects.values_list("name", flat=True)) or "none"
        raise NotFound(f"There is no release {name!r}; there are: {known}.", field="name")
    return found


def register(manifest: Manifest) -> Release:
    """A new release of these weights, filling; StateConflict when the name is taken.

    Weights outside the shipped folder are referred to by their manifest's path.
    """
    if Release.objects.filter(name=manifest.name).exists():
        raise taken(manifest.name)
    return register_release(manifest, Release.State.FILLING)


def adopt(weights: str | Path, name: str | None = None) -> Release:
    """Weights that a training run was exported to, or shipped ones, become a release; they are copied.

    Args:
        weights: the manifest's path, its weights beside it, or the name of shipped weights.
        name: of the release, when not the manifest's.

    Raises:
        WeightsError: no manifest, or the weights are missing or altered.
        StateConflict: a release of the name is there.
    """
    found = Manifest.load(weights)
    name = name or check_name(found.name)
    if Release.objects.filter(name=name).exists():
        raise taken(name)
    return register(keep_weights(found, name))


def keep_weights(found: Manifest, name: str) -> Manifest:
    """Copy weights into the platform's folder, by the release's name; the copy's manifest."""
    weights, folder = found.verify_weights(), weights_folder()
    own = replace(found, name=name, weights_file=f"{name}.safetensors", folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # a full disk leaves no half a file
        part = Path(scratch) / own.weights_file
        shutil.copyfile(weights, part)
        part.replace(own.weights_path)
    own.save(folder)
    return own


def left_over(name: str) -> bool:
    """Whether weights of the name lie here that no release has, as after a broken import.

    Such may be written over; those of a release never.

    Raises:
        StateConflict: a release of the name is there.
    """
    if Release.objects.filter(name=name).exists():
        raise taken(name)
    return (weights_folder() / f"{name}.json").exists()


def taken(name: str) -> StateConflict:
    """The refusal of a release's name that exists."""
    return StateConflict(f"A release named {name!r} is there already; import it under another.")


# --- filling -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filled:
    """How far a release is: pictures in all, analysed to an end, done, and still to be asked for.

    For showing; whether it may answer is decided by `lacking`.
    """

    name: str
    state: str
    images: int
    ended: int
    done: int
    missing: int

    @property
    def whole(self) -> bool:
        """Whether every picture has come to an end under the release."""
        return self.missing == 0 and self.ended == self.images

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "whole": self.whole}


def filled(release: Release) -> Filled:
    """Counts of the release's analyses beside those of all pictures."""
    rows = Analysis.objects.filter(release=release)
    images, asked = Image.objects.count(), rows.count()
    return Filled(
        release.name,
        release.state,
        images,
        rows.filter(state__in=Analysis.FINAL).count(),
        rows.filter(state="done").count(),
        images - asked,
    )


def fill(release: Release) -> int:
    """Queue every picture that the release has not seen, behind all uploads; how many were queued.

    May be called again: only what is missing is queued.

    Raises:
        StateConflict: the release is retired.
    """
    release.refresh_from_db()
    if release.state == Release.State.RETIRED:
        raise StateConflict(f"{release.name} is retired; roll back to it, or import it anew.")
    return _queue(release, PRIORITY_FILL)


def _queue(release: Release, priority: int) -> int:
    count = 0
    seen = Analysis.objects.filter(image=OuterRef("pk"), release=release)
    missing = Image.objects.filter(~Exists(seen)).order_by("pk")
    while rows := list(missing.values_list("pk", "collection_id")[:_BLOCK]):
        with transaction.atomic():
            Analysis.objects.bulk_create(
                (
                    Analysis(
                        image_id=pk,
                        release=release,
                        collection_id=home,
                        queue="bulk",
                        priority=priority,
                    )
                    for pk, home in rows
                ),
                ignore_conflicts=True,  # an upload may have asked for the same at this moment
            )
            ring("bulk")
        count += len(rows)
    return count


def _hurry(release: Release) -> None:
    """Let what an answering release has not parsed be parsed like uploads, not behind them."""
    _queue(release, PRIORITY_UPLOAD)
    # Only what is queued: claims skip rows that are locked, whereas running ones are being written.
    slow = Analysis.objects.filter(release=release, state="queued", priority__lt=PRIORITY_UPLOAD)
    slow.update(priority=PRIORITY_UPLOAD)


# --- indexes -------------------------------------------------------------------------------------


def needs_indexes(release: Release) -> bool:
    """Whether there are so many rows that searches go through an index, and one is missing."""
    some = Descriptor.objects.filter(release=release).values("pk")[: settings.EXACT_ROWS + 1]
    if some.count() <= settings.EXACT_ROWS:
        return False
    return {space.name for space in spaces_of(release).values()} - indexed_spaces(release) != set()


def build_where_needed() -> list[str]:
    """Build missing indexes of releases in use that are large enough; what was built.

    One process at a time does so: a second one returns at once.
    """
    made: list[str] = []
    with alone(wait=False) as ours:
        for release in Release.objects.exclude(state="retired") if ours else ():
            if needs_indexes(release):
                made += build_indexes(release)
    return made


# --- switching -----------------------------------------------------------------------------------


def _replaced(release: Release, force: bool) -> Release | None:
    """The release that a promotion would retire; StateConflict where it would lose pictures."""
    before = Release.objects.filter(state="active").first()
    if before == release:
        raise StateConflict(f"{release.name} is active already.")
    if before is not None and not force:
        found = lacking(release, before)
        if found.lost:
            raise StateConflict(
                f"{release.name} is not filled: {found.lost} of {found.done} pictures are left "
                f"({found.unasked} not asked for: run `manage.py release fill {release.name}`; "
                f"{found.failed} failed: try them again in the admin, under Analyses)."
            )
    return before


def promote(release: Release, force: bool = False) -> Release | None:
    """Make a filled release the one that answers, in one transaction; the one that answered before.

    Filled is one that has done every picture that the active one has done. Indexes that it needs are
    built before the switch, while the old release goes on answering. What the new one has not parsed
    is parsed like uploads from then on.

    Args:
        force: although pictures are missing; they are found again once they are parsed.

    Raises:
        StateConflict: it is active already, or not filled, or not any more once indexes are built.
    """
    _replaced(release, force)
    if needs_indexes(release):
        build_indexes(release)
    with transaction.atomic(), connection.cursor() as cursor:
        # Two promotions at once would each see the other's release as the one to retire.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        before = _replaced(release, force)  # again: uploads went on while indexes were built
        if before is not None:
            Release.objects.filter(pk=before.pk).update(state=Release.State.RETIRED)
            Release.objects.filter(pk=release.pk).update(followed=before)
        Release.objects.filter(pk=release.pk).update(state=Release.State.ACTIVE)
    _hurry(release)
    release.refresh_from_db()
    return before


def _way_back() -> tuple[Release, Release]:
    """The active release and the one that it followed."""
    active = Release.objects.filter(state="active").select_related("followed").first()
    if active is None or active.followed is None:
        raise StateConflict("The active release followed no other: there is nothing to go back to.")
    return active, active.followed


def rollback(force: bool = False) -> tuple[Release, Release]:
    """Go back to the release that the active one followed; (now active, was active).

    Going back is for emergencies, so it waits for no parsing: pictures that only the active release has
    done, such as those uploaded since, are queued for the old one beside uploads before the switch,
    and searches find them again once they are parsed.

    Args:
        force: although the old release has done less than half of the pictures.

    Raises:
        StateConflict: the active release followed none, or what that one found was deleted; the old
            one has done less than half of the pictures; or another was promoted meanwhile.
    """
    active, target = _way_back()
    found = lacking(target, active)
    if not force and 2 * found.lost > found.done:
        raise StateConflict(
            f"{target.name} lacks {found.lost} of the {found.done} pictures that {active.name} has; "
            "`manage.py release rollback --force` goes back to it nevertheless."
        )
    _hurry(target)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if _way_back() != (active, target):
            raise StateConflict("It was changed meanwhile; read it again before changing it.")
        Release.objects.filter(pk=active.pk).update(state=Release.State.RETIRED)
        Release.objects.filter(pk=target.pk).update(state=Release.State.ACTIVE)
    _hurry(target)  # what was uploaded since a moment ago
    target.refresh_from_db()
    return target, active


def retire(release: Release, delete_rows: bool = False) -> int:
    """Stop filling a release; with `delete_rows` its masks and vectors go too, how many analyses.

    Raises:
        StateConflict: it is active.
    """
    others = Release.objects.filter(pk=release.pk).exclude(state=Release.State.ACTIVE)
    # In one statement, as it may be promoted at this moment.
    if not others.update(state=Release.State.RETIRED):
        raise StateConflict(f"{release.name} is active; promote another one first.")
    waiting = Analysis.objects.filter(release=release, state="queued")
    count = waiting.count()
    waiting.delete()
    if delete_rows:
        count += forget(release)
    return count


def forget(release: Release) -> int:
    """Delete all that a release found, and its indexes; how many analyses there were.

    Nothing goes back to it from then on.

    Raises:
        StateConflict: it is active.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if Release.objects.filter(pk=release.pk, state=Release.State.ACTIVE).exists():
            raise StateConflict(f"{release.name} is active; promote another one first.")
        Release.objects.filter(followed=release).update(followed=None)
    drop_indexes(release)
    # Plain SQL, because a release may have millions of rows. Analyses first (foreign keys are checked
    # at the end): a worker that records one is waited for, and no other may record after that.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM retrieval_analysis WHERE release_id = %s", (release.pk,))
        deleted: int = cursor.rowcount
        for table in ("mask", "descriptor", "region", "classarea"):
            # What a worker finds of a picture uploaded since stays, as its analysis does.
            cursor.execute(
                f"DELETE FROM retrieval_{table} f WHERE f.release_id = %s AND NOT EXISTS (SELECT 1 "
                "FROM retrieval_analysis a WHERE a.image_id = f.image_id AND a.release_id = %s)",
                (release.pk, release.pk),
            )
    return deleted


def weights_of(release: Release) -> str:
    """What `Parser.load` takes: the name of shipped weights, or the path of an imported manifest."""
    path = weights_folder() / f"{release.weights_name}.json"
    return str(path) if path.exists() else release.weights_name


def check_name(name: str) -> str:
    """A release's name goes into file names; FieldInvalid for what could leave their folder."""
    if (
        not name
        or len(name) > 100
        or not all(c.isalnum() or c in "-_." for c in name)
        or name[0] == "."
    ):
        raise FieldInvalid("A name has letters, digits, '-', '_' and '.'.", field="name")
    return name
