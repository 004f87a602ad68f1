"""Untrusted bytes to a stored original, an image row and a queued analysis."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import IntegrityError, transaction

from retrieval.doorbell import ring
from retrieval.errors import FileEmpty, FileTooLarge, ImageRefused, NoActiveRelease, StorageFull
from retrieval.ids import new_id, original_name
from retrieval.models import Analysis, Collection, Image, ImageTag, Release, Tag
from segmentation.errors import InputError
from segmentation.formats import ImageHeader, Limits, inspect

PRIORITY_UPLOAD, PRIORITY_FILL = 10, 0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """The image row, and whether this upload made it (False: the same bytes were there already)."""

    image: Image
    created: bool


def clean_title(filename: str) -> str:
    """A file name without folders and control characters, at most 255 characters."""
    name = re.split(r"[/\\]", filename.replace("\0", ""))[-1]
    # Format characters such as right-to-left override could disguise what a name ends in.
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return name.strip()[:255]


def staging() -> Path:
    """Folder of files on their way in, on the disk where they will stay."""
    folder = Path(settings.MEDIA_ROOT) / "staging"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _spool(file: BinaryIO, path: Path) -> tuple[str, int]:
    """Copy to `path`, counting and hashing, flushed to the disk; (sha256 hex, bytes)."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > settings.MAX_UPLOAD_BYTES:
                raise FileTooLarge(
                    f"The file is over {settings.MAX_UPLOAD_BYTES / 1e6:g} MB.", field="file"
                )
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if not size:
        raise FileEmpty("The file is empty.", field="file")
    return digest.hexdigest(), size


def _header(path: Path) -> ImageHeader:
    try:
        return inspect(path, Limits(max_bytes=settings.MAX_UPLOAD_BYTES))
    except InputError as error:
        raise ImageRefused(str(error), code=error.code, http_status=error.http_status) from error


def _taken_at(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _keep(spooled: Path, name: str) -> None:
    """Move the file to its storage name so that it survives a power cut before the row exists."""
    if not isinstance(default_storage._wrapped, FileSystemStorage):  # type: ignore[attr-defined]
        with spooled.open("rb") as file:
            default_storage.save(name, cast(Any, file))
        return
    target = Path(default_storage.path(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(spooled, target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _existing(collection: Collection, sha256: str) -> Image | None:
    return Image.objects.filter(collection=collection, sha256=sha256).first()


def active_release() -> Release:
    """The release that answers; NoActiveRelease when there is none."""
    release = Release.objects.filter(state="active").first()
    if release is None:
        raise NoActiveRelease("No model release is active; run `manage.py release list`.")
    return release


def add_tags(image: Image, names: Iterable[str]) -> None:
    """Give the image tags of its collection, made where they are new."""
    for name in {n.strip()[:80] for n in names if n.strip()}:
        tag, _ = Tag.objects.get_or_create(collection_id=image.collection_id, name=name)
        ImageTag.objects.get_or_create(image=image, tag=tag, collection_id=image.collection_id)


def _record(image: Image, queue: str, priority: int, tags: Iterable[str]) -> None:
    with transaction.atomic():
        image.save(force_insert=True)
        releases = Release.objects.filter(state__in=("active", "filling"))
        Analysis.objects.bulk_create(
            Analysis(
                image=image,
                release=release,
                collection_id=image.collection_id,
                queue=queue if release.state == "active" else "bulk",
                priority=priority if release.state == "active" else PRIORITY_FILL,
            )
            for release in releases
        )
        add_tags(image, tags)
        ring(queue)


def store_upload(
    file: BinaryIO,
    *,
    filename: str,
    collection: Collection,
    user: Any,
    title: str | None = None,
    tags: Iterable[str] = (),
    queue: str = "bulk",
    priority: int = PRIORITY_UPLOAD,
    expires_at: datetime | None = None,
    rendered: bool = False,
) -> Stored:
    """Store a picture and queue its analysis; the file is on the disk before the row is committed.

    Raises:
        FileEmpty, FileTooLarge, ImageRefused: the picture's fault; nothing is kept.
        StorageFull: no room; nothing is kept.
        NoActiveRelease: nothing could parse it.
    """
    active_release()
    image_id: uuid.UUID = new_id()
    spooled = staging() / image_id.hex
    name: str | None = None
    try:
        sha256, size = _spool(file, spooled)
        if found := _existing(collection, sha256):
            return Stored(found, False)
        header = _header(spooled)
        name = original_name(collection.pk, image_id, header.format)
        _keep(spooled, name)
        image = Image(
            id=image_id,
            collection=collection,
            uploader=user,
            sha256=sha256,
            size_bytes=size,
            width_px=header.width_px,
            height_px=header.height_px,
            format=header.format,
            title=clean_title(title or filename),
            taken_at=_taken_at(header.taken_at),
            original=name,
            expires_at=expires_at,
            rendered=rendered,
        )
        _record(image, queue, priority, tags)
        name = None
        return Stored(image, True)
    except IntegrityError:
        found = _existing(collection, sha256)  # the same picture, uploaded at the same moment
        if found is None:
            raise
        return Stored(found, False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The disk is full; nothing of the upload was kept.") from error
        raise
    finally:
        spooled.unlink(missing_ok=True)
        if name is not None:
            default_storage.delete(name)
