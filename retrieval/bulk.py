"""Doing something to many pictures at once: tag, move, parse again, delete, bring back.

Each takes pictures of collections that the user may change and leaves out the others, so that a
selection never fails for one row; the answer says how many were changed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from retrieval.errors import FieldInvalid, NotFound
from retrieval.ids import new_id
from retrieval.models import (
    Analysis,
    ClassArea,
    Collection,
    Descriptor,
    Image,
    ImageTag,
    MapPoint,
    Mask,
    NearDuplicate,
    Region,
    Sheet,
    Tag,
)
from retrieval.permissions import editable_by, require_edit
from retrieval.queue import start_over

User = Any
TRASH_KEPT = timedelta(days=1)
MAX_IDS = 10_000
_WITH_COLLECTION = (Analysis, Mask, Descriptor, Region, ClassArea, Sheet)


def chosen(user: User, ids: Iterable[Any]) -> QuerySet[Image]:
    """Pictures by id, those that the user may change.

    Raises:
        FieldInvalid: something is no id, or there are over `MAX_IDS`.
    """
    try:
        wanted = [one if isinstance(one, uuid.UUID) else uuid.UUID(str(one)) for one in ids]
    except ValueError as error:
        raise FieldInvalid("ids are the ids of pictures.", field="ids") from error
    if len(wanted) > MAX_IDS:
        raise FieldInvalid(f"At most {MAX_IDS} ids at once; use a filter instead.", field="ids")
    return Image.objects.filter(pk__in=wanted, collection__in=editable_by(user))


def _ids(user: User, images: QuerySet[Image]) -> list[uuid.UUID]:
    """Ids of the pictures that the user may change, locked until the transaction ends."""
    mine = images.filter(collection__in=editable_by(user)).order_by("pk")
    return list(
        Image.objects.select_for_update()
        .filter(pk__in=mine.values("pk"))
        .values_list("pk", flat=True)
    )


def _names(names: Iterable[str]) -> list[str]:
    found = [str(name).strip() for name in names]
    if any(len(name) > 80 for name in found):
        raise FieldInvalid("A tag has at most 80 characters.", field="tags")
    return sorted({name for name in found if name})


@transaction.atomic
def tag(
    user: User, images: QuerySet[Image], add: Iterable[str] = (), remove: Iterable[str] = ()
) -> int:
    """Give pictures tags, and take others away; how many pictures."""
    ids = _ids(user, images)
    rows = dict(Image.objects.filter(pk__in=ids).values_list("pk", "collection_id"))
    for name in _names(add):
        tags = {
            pk: Tag.objects.get_or_create(collection_id=pk, name=name)[0]
            for pk in set(rows.values())
        }
        ImageTag.objects.bulk_create(
            (
                ImageTag(image_id=pk, tag=tags[home], collection_id=home)
                for pk, home in rows.items()
            ),
            ignore_conflicts=True,
        )
    if gone := _names(remove):
        ImageTag.objects.filter(image__in=ids, tag__name__in=gone).delete()
        Tag.objects.filter(
            collection__in=set(rows.values()), name__in=gone, image_tags__isnull=True
        ).delete()
    return len(rows)


@dataclass(frozen=True)
class Moved:
    """How many pictures were moved, and how many stayed because the target has the same file."""

    moved: int
    duplicates: int


def _carry(ids: list[uuid.UUID], target: Collection) -> None:
    """Change the collection of pictures in every table that repeats it, tags included."""
    names = list(ImageTag.objects.filter(image__in=ids).values_list("image_id", "tag__name"))
    ImageTag.objects.filter(image__in=ids).delete()
    Image.objects.filter(pk__in=ids).update(collection=target)
    for model in _WITH_COLLECTION:
        model.objects.filter(image__in=ids).update(collection=target)  # type: ignore[attr-defined]
    # What compares pictures with others of their collection is measured anew in the new one.
    MapPoint.objects.filter(image__in=ids).delete()
    NearDuplicate.objects.filter(Q(first__in=ids) | Q(second__in=ids)).delete()
    tags = {
        name: Tag.objects.get_or_create(collection=target, name=name)[0]
        for name in {name for _, name in names}
    }
    ImageTag.objects.bulk_create(
        ImageTag(image_id=pk, tag=tags[name], collection=target) for pk, name in names
    )


@transaction.atomic
def move(user: User, images: QuerySet[Image], target: Collection) -> Moved:
    """Move pictures with all that was found of them into another collection.

    Raises:
        Forbidden: the user may not change the target.
    """
    require_edit(user, target)
    ids = _ids(user, images.exclude(collection=target))
    return _move(ids, target)


def _move(ids: list[uuid.UUID], target: Collection) -> Moved:
    there = set(
        Image.objects.filter(collection=target)
        .filter(sha256__in=Image.objects.filter(pk__in=ids).values("sha256"))
        .values_list("sha256", flat=True)
    )
    going, seen = [], set(there)
    for pk, sha256 in Image.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "sha256"):
        if sha256 not in seen:
            seen.add(sha256)
            going.append(pk)
    _carry(going, target)
    return Moved(len(going), len(ids) - len(going))


@transaction.atomic
def parse_again(user: User, images: QuerySet[Image]) -> int:
    """Queue finished analyses by the active release anew; how many."""
    return start_over(
        Analysis.objects.filter(
            image__in=_ids(user, images), release__state="active", state__in=Analysis.FINAL
        )
    )


@transaction.atomic
def delete(user: User, images: QuerySet[Image]) -> tuple[int, uuid.UUID]:
    """Hide pictures from everybody; how many, and the key that `restore` takes within a day."""
    ids, key = _ids(user, images), new_id()
    trash, _ = Collection.objects.get_or_create(
        owner=user, kind=Collection.Kind.TRASH, defaults={"name": "trash"}
    )
    # The same file deleted before makes room: one copy can be brought back, the latest.
    hashes = Image.objects.filter(pk__in=ids).values("sha256")
    older = Image.objects.filter(collection=trash, sha256__in=hashes)
    from retrieval.services import remove_images

    remove_images(list(older))
    homes = Image.objects.filter(pk__in=ids).values_list("collection_id", flat=True)
    for home in set(homes):
        Image.objects.filter(pk__in=ids, collection_id=home).update(
            deleted_from=home, deletion=key, expires_at=timezone.now() + TRASH_KEPT
        )
    moved = _move(ids, trash)
    if moved.duplicates:  # the same file of two collections at once: the second has no place there
        remove_images(list(Image.objects.filter(pk__in=ids).exclude(collection=trash)))
    return len(ids), key


@transaction.atomic
def restore(user: User, key: uuid.UUID) -> int:
    """Bring back what one deletion of the user's hid; how many pictures.

    Raises:
        NotFound: nothing is left of it.
    """
    images = Image.objects.filter(collection__owner=user, collection__kind="trash", deletion=key)
    homes = {pk for pk in images.values_list("deleted_from", flat=True) if pk is not None}
    count = 0
    for home in Collection.objects.filter(pk__in=homes):
        ids = list(images.filter(deleted_from=home).values_list("pk", flat=True))
        count += _move(ids, home).moved
        back = Image.objects.filter(pk__in=ids, collection=home)
        back.update(deletion=None, deleted_from=None, expires_at=None)
        parsed = Analysis.objects.filter(image=OuterRef("pk"), state="done")
        back.filter(~Exists(parsed), analyses__state="rejected").update(
            expires_at=timezone.now() + timedelta(days=settings.REJECTED_KEPT_DAYS)
        )
    if not count:
        raise NotFound("Nothing is left to bring back.")
    return count
