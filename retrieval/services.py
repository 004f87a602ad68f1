"""All writes that pages, API and commands share; each checks the user's rights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from retrieval.errors import FieldInvalid, NameTaken, StateConflict
from retrieval.files import delete_after_commit
from retrieval.ids import new_secret
from retrieval.models import Analysis, ApiToken, Collection, Image, Release, SemanticClass
from retrieval.permissions import require_edit
from retrieval.queue import start_over
from retrieval.upload import Stored, store_upload
from segmentation.manifest import Manifest

User = Any
PRIORITY_QUERY = 100


@transaction.atomic
def register_release(manifest: Manifest, state: str) -> Release:
    """Release and classes as a manifest describes them."""
    release = Release.objects.create(
        name=manifest.name,
        network=f"PSPNet {manifest.network['backbone']}",
        weights_name=manifest.name,
        weights_sha256=manifest.weights_sha256,
        label_set=manifest.labels.name,
        input_rules=manifest.input,
        context_width=manifest.context_width,
        ranking=manifest.ranking,
        metrics=manifest.metrics,
        state=state,
    )
    labels = manifest.labels
    rows = zip(labels.classes, labels.classes_zh, labels.colours, strict=True)
    SemanticClass.objects.bulk_create(
        SemanticClass(release=release, index=index, name=name, name_zh=name_zh, colour=colour)
        for index, (name, name_zh, colour) in enumerate(rows)
    )
    return release


def checked_name(name: str) -> str:
    """A collection's name without spaces around it; FieldInvalid by its length."""
    name = name.strip()
    if not name or len(name) > 120 or not name.isprintable():
        raise FieldInvalid("A collection's name has 1 to 120 characters.", field="name")
    return name


def create_collection(user: User, name: str, visibility: str = "private") -> Collection:
    """A new collection of the user's; FieldInvalid or NameTaken."""
    name = checked_name(name)
    if visibility not in Collection.Visibility.values:
        raise FieldInvalid("Visibility is private or public.", field="visibility")
    try:
        with transaction.atomic():
            return Collection.objects.create(name=name, owner=user, visibility=visibility)
    except IntegrityError as error:
        raise NameTaken(f"You have a collection named {name!r} already.", field="name") from error


def query_collection(user: User) -> Collection:
    """The user's hidden collection of pictures uploaded to search with."""
    collection, _ = Collection.objects.get_or_create(
        owner=user, kind=Collection.Kind.QUERIES, defaults={"name": "queries"}
    )
    return collection


def upload_query(user: User, file: Any, filename: str) -> Stored:
    """Store a picture to search with: analysed ahead of bulk work, gone after a day."""
    expires = timezone.now() + timedelta(hours=settings.QUERY_KEPT_HOURS)
    stored = store_upload(
        file,
        filename=filename,
        collection=query_collection(user),
        user=user,
        queue="query",
        priority=PRIORITY_QUERY,
        expires_at=expires,
    )
    if not stored.created:
        Image.objects.filter(pk=stored.image.pk).update(expires_at=expires)
    return stored


def upload_image(
    user: User, collection: Collection, file: Any, filename: str, tags: Iterable[str] = ()
) -> Stored:
    """Store a picture in a collection; Forbidden unless the user may change it."""
    require_edit(user, collection)
    return store_upload(file, filename=filename, collection=collection, user=user, tags=tags)


def parse_again(user: User, image: Image) -> None:
    """Queue a finished analysis anew; StateConflict while it is queued or running."""
    require_edit(user, image.collection)
    with transaction.atomic():
        rows = Analysis.objects.filter(
            image=image, release__state="active", state__in=Analysis.FINAL
        )
        if not start_over(rows):
            raise StateConflict("The picture waits to be parsed, or is being parsed.")


def delete_images(user: User, images: Iterable[Image]) -> int:
    """Delete rows now and files once that is committed."""
    images = list(images)
    for image in images:
        require_edit(user, image.collection)
    return remove_images(images)


def remove_images(images: list[Image]) -> int:
    """Delete without asking for rights; for expiry."""
    with transaction.atomic():
        # Locked and read anew: a worker may have written thumbnails since the caller looked.
        rows = Image.objects.select_for_update().filter(pk__in=[image.pk for image in images])
        locked = list(rows.order_by("pk"))
        delete_after_commit(f.name for i in locked for f in (i.original, i.thumb_256, i.thumb_1024))
        rows.delete()
    return len(locked)


def expire_images() -> int:
    """Remove pictures whose time is over; how many."""
    return remove_images(list(Image.objects.filter(expires_at__lt=timezone.now())[:1000]))


def create_token(user: User, name: str, scope: str = "write", days: int = 90) -> str:
    """A new API token's text, which is shown once and stored as a digest only."""
    text = f"paysage_{new_secret()}"
    ApiToken.objects.create(
        user=user,
        name=name[:120],
        scope=scope,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        expires_at=timezone.now() + timedelta(days=days),
    )
    return text
