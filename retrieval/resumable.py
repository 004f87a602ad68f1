"""Resumable uploads: the server's side of tus 1.0 (https://tus.io/protocols/resumable-upload).

The row's offset is the truth: it moves on only after the bytes are flushed to the disk, and whatever a
crash left behind it is cut off before the next part.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fcntl
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.utils import timezone

from retrieval.errors import (
    ChecksumMismatch,
    FieldInvalid,
    FileEmpty,
    FileTooLarge,
    NotFound,
    OffsetConflict,
    RetrievalError,
    StorageFull,
    UploadBusy,
)
from retrieval.models import Collection, Upload
from retrieval.permissions import require_edit
from retrieval.upload import clean_title, staging, store_upload

User = Any
KEPT = timedelta(days=1)
ALGORITHMS = ("sha1", "sha256")
_CHUNK_BYTES = 1 << 18


def parse_metadata(text: str) -> dict[str, str]:
    """The header Upload-Metadata: names with base64 values, by comma.

    Raises:
        FieldInvalid: it is not in that form.
    """
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise FieldInvalid(
                "Upload-Metadata is names with base64 values.", field="Upload-Metadata"
            ) from error
    return found


def path_of(upload: Upload) -> Path:
    """Where an upload's bytes lie until it is whole."""
    return staging() / f"upload-{upload.pk.hex}"


def begin(
    user: User,
    collection: Collection,
    length: int,
    filename: str,
    tags: list[str],
    sha256: str = "",
) -> Upload:
    """Announce a file of `length` bytes; with `sha256` (hex) the whole of it is checked at the end.

    Raises:
        Forbidden, FileEmpty, FileTooLarge: before a byte is sent.
    """
    require_edit(user, collection)
    if length <= 0:
        raise FileEmpty("The file is empty.", field="Upload-Length")
    if length > settings.MAX_UPLOAD_BYTES:
        raise FileTooLarge(
            f"The file is over {settings.MAX_UPLOAD_BYTES / 1e6:g} MB.", field="Upload-Length"
        )
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise FieldInvalid("sha256 is 64 hex digits.", field="sha256")
    upload = Upload.objects.create(
        user=user,
        collection=collection,
        length=length,
        sha256=sha256,
        filename=clean_title(filename),
        tags=tags,
        expires_at=timezone.now() + KEPT,
    )
    path_of(upload).touch(mode=0o600)
    return upload


def upload_for(user: User, pk: Any) -> Upload:
    """The user's own upload; NotFound for others' and for those that are over."""
    found = Upload.objects.filter(user=user, pk=pk, expires_at__gt=timezone.now()).first()
    if found is None:
        raise NotFound("There is no such upload; begin anew.")
    return found


@contextmanager
def _alone(upload: Upload) -> Iterator[BinaryIO]:
    """The file, locked: two parts of one upload at once would mix."""
    path = path_of(upload)
    try:
        file = path.open("r+b")
    except FileNotFoundError as error:
        upload.delete()
        raise NotFound("The upload's bytes are gone; begin anew.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UploadBusy("Another part of this upload is being received.") from error
        yield file


def _checker(header: str) -> tuple[Any, bytes] | None:
    if not header:
        return None
    name, _, wanted = header.partition(" ")
    if name not in ALGORITHMS:
        raise FieldInvalid(f"Checksums are {' or '.join(ALGORITHMS)}.", field="Upload-Checksum")
    try:
        return hashlib.new(name), base64.b64decode(wanted, validate=True)
    except binascii.Error as error:
        raise FieldInvalid("Upload-Checksum is not base64.", field="Upload-Checksum") from error


def receive(upload: Upload, offset: int, body: Any, checksum: str = "") -> Upload:
    """Append a part; with the last byte the file becomes a picture.

    Args:
        body: anything with `read(size)`; read no further than the announced length.
        checksum: of this part, as the header Upload-Checksum.

    Raises:
        OffsetConflict: the part does not begin where the upload ends.
        ChecksumMismatch: the part was altered on its way; it is thrown away.
        UploadBusy: another part is being received.
        FileTooLarge: more bytes than announced.
        StorageFull: no room; the part is thrown away.
        ImageRefused and others of `store_upload`: the whole file is no acceptable picture.
    """
    check = _checker(checksum)
    with _alone(upload) as file:
        upload.refresh_from_db()
        if offset != upload.offset:
            raise OffsetConflict(
                f"The upload goes on at byte {upload.offset}.", field="Upload-Offset"
            )
        if upload.image_id is None:
            end = _append(file, upload, body, check)
            Upload.objects.filter(pk=upload.pk).update(offset=end, expires_at=timezone.now() + KEPT)
            upload.offset = end
            if end == upload.length:
                _finish(upload, file)
    return upload


def _append(file: BinaryIO, upload: Upload, body: Any, check: tuple[Any, bytes] | None) -> int:
    """Bytes there are after the part, all on the disk."""
    start = upload.offset
    file.truncate(start)
    file.seek(start)
    left, broken = upload.length - start, False
    try:
        while True:
            try:
                chunk = body.read(min(_CHUNK_BYTES, left + 1))
            except OSError:  # the connection broke: what came before it counts
                broken = True
                break
            if not chunk:
                break
            if len(chunk) > left:
                file.truncate(start)
                raise FileTooLarge("More bytes than Upload-Length announced.", field="file")
            left -= len(chunk)
            if check:
                check[0].update(chunk)
            file.write(chunk)
        if check and (broken or not hmac.compare_digest(check[0].digest(), check[1])):
            file.truncate(start)
            raise ChecksumMismatch("The part was altered on its way; send it again.")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The disk is full; try again later from where it stopped.") from error
        raise
    return upload.length - left


def _finish(upload: Upload, file: Any) -> None:
    file.seek(0)
    if upload.sha256 and hashlib.file_digest(file, "sha256").hexdigest() != upload.sha256:
        drop(upload)
        raise ChecksumMismatch("The file was altered on its way; upload it again.")
    file.seek(0)
    try:
        stored = store_upload(
            file,
            filename=upload.filename,
            collection=upload.collection,
            user=upload.user,
            tags=upload.tags,
        )
    except RetrievalError as error:
        if not error.retryable:  # a later part cannot make it a picture
            drop(upload)
        else:  # the last part may be sent again
            Upload.objects.filter(pk=upload.pk).update(offset=0)
        raise
    upload.image, upload.created = stored.image, stored.created
    Upload.objects.filter(pk=upload.pk).update(image=stored.image, created=stored.created)
    path_of(upload).write_bytes(b"")


def drop(upload: Upload) -> None:
    """Forget an upload and its bytes; the picture it became stays."""
    path = path_of(upload)  # a deleted row has no key any more
    upload.delete()
    path.unlink(missing_ok=True)


def expire() -> int:
    """Forget uploads that nobody went on with for a day; how many."""
    over = list(Upload.objects.filter(expires_at__lt=timezone.now())[:1000])
    for upload in over:
        drop(upload)
    return len(over)
