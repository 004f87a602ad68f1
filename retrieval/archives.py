"""ZIP uploads: the whole archive is checked before anything of it is kept.

Nothing is unpacked by name: entries are read as streams and each picture is stored as any upload is.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.conf import settings

from retrieval.errors import ArchiveRefused, RetrievalError
from retrieval.models import Collection, Image
from retrieval.permissions import require_edit
from retrieval.upload import store_upload

User = Any
MAX_ENTRIES = 5_000
_MAX_DIRECTORY_BYTES = 4_000_000
_CHUNK_BYTES = 1 << 18
_END = struct.Struct("<4s4H2LH")
_SEEN_ALONE = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_NESTED = (b"PK\3\4", b"PK\5\6", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


@dataclass(frozen=True)
class Entry:
    """What became of one file of an archive.

    Attributes:
        image: the stored picture, None where it was refused.
        created: False where the collection had the file already.
        error: why it was refused.
    """

    name: str
    image: Image | None = None
    created: bool = False
    error: RetrievalError | None = None


def _refuse_size(file: BinaryIO) -> None:
    """Refuse by the directory's own size before it is read: zipfile holds all of it in memory."""
    size = file.seek(0, 2)
    tail_bytes = min(size, _END.size + 65_535)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise ArchiveRefused("The file is no ZIP, or its end is missing.", field="file")
    _, disk, start_disk, _, entries, directory_bytes, offset, _ = _END.unpack_from(tail, at)
    if entries > MAX_ENTRIES or 0xFFFFFFFF in (directory_bytes, offset):
        raise ArchiveRefused(f"A ZIP has at most {MAX_ENTRIES} entries here.", field="file")
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise ArchiveRefused("The ZIP's directory is too large.", field="file")
    if disk or start_disk:
        raise ArchiveRefused("ZIPs in several parts are not read.", field="file")
    file.seek(0)


def _refuse_name(info: zipfile.ZipInfo) -> None:
    # `filename` has "/" for os.sep and ends at NUL; what the archive says stands in `orig_filename`.
    for name in (info.filename, info.orig_filename):
        parts = name.replace("\\", "/").split("/")
        if ".." in parts:
            raise ArchiveRefused(f"{name!r} points out of the archive.", field="file")
        if parts[0] == "" or parts[0].endswith(":") or "\0" in name:
            raise ArchiveRefused(f"{name!r} is no name inside an archive.", field="file")


def _refuse_kind(info: zipfile.ZipInfo) -> None:
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveRefused(f"{info.filename!r} is a link or a device.", field="file")
    if info.flag_bits & 0x1:
        raise ArchiveRefused(f"{info.filename!r} is encrypted.", field="file")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveRefused(
            f"{info.filename!r} is compressed in a way that is not read; use deflate.", field="file"
        )


def _count(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> int:
    """Bytes of an entry, counted while it is read and checked against its CRC."""
    size = 0
    with archive.open(info) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if not size and chunk.startswith(_NESTED):
                raise ArchiveRefused(f"{info.filename!r} is an archive itself.", field="file")
            size += len(chunk)
            if size > settings.MAX_UPLOAD_BYTES:
                raise ArchiveRefused(
                    f"{info.filename!r} is over {settings.MAX_UPLOAD_BYTES / 1e6:g} MB.",
                    field="file",
                )
            if size > left:
                raise ArchiveRefused(
                    f"The ZIP is over {settings.MAX_ARCHIVE_BYTES / 1e6:g} MB unpacked.",
                    field="file",
                )
    if size != info.file_size:
        raise ArchiveRefused(f"{info.filename!r} is not as large as it says.", field="file")
    return size


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries that are files, once every one of them was read through."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ArchiveRefused(f"A ZIP has at most {MAX_ENTRIES} entries here.", field="file")
    for info in entries:
        _refuse_name(info)
        _refuse_kind(info)
    files = [info for info in entries if not info.is_dir()]
    left = settings.MAX_ARCHIVE_BYTES
    if sum(info.file_size for info in files) > left:
        raise ArchiveRefused(f"The ZIP is over {left / 1e6:g} MB unpacked.", field="file")
    for info in files:
        left -= _count(archive, info, left)
    return [info for info in files if not _litter(info.filename)]


def _litter(name: str) -> bool:
    """Files that systems leave beside pictures, and nobody means to send."""
    last = name.rsplit("/", 1)[-1]
    return name.startswith(_SEEN_ALONE[0]) or last in _SEEN_ALONE or last.startswith("._")


def _opened(file: BinaryIO) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """An archive that was read through and is harmless, and its files.

    Raises:
        ArchiveRefused: names that point outside, links, encryption, archives within, lying or too
            large sizes, too many entries, damage. The message names the first that was found.
    """
    try:
        _refuse_size(file)
        archive = zipfile.ZipFile(file)
        return archive, _checked(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, OverflowError) as error:
        raise ArchiveRefused(f"The ZIP is damaged: {error}", field="file") from error
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveRefused(f"The ZIP cannot be read: {error}", field="file") from error


def store_archive(
    user: User, collection: Collection, file: BinaryIO, tags: Iterable[str] = ()
) -> list[Entry]:
    """Store the pictures of a ZIP; one result for each file in it.

    A file that is no acceptable picture is refused alone.

    Raises:
        ArchiveRefused: the whole archive; nothing is kept.
        Forbidden: the user may not change the collection.
    """
    require_edit(user, collection)
    names = list(tags)
    archive, files = _opened(file)
    with archive:
        if not files:
            raise ArchiveRefused("There is no file in the ZIP.", field="file")
        return [_store(user, collection, archive, info, names) for info in files]


def _store(
    user: User,
    collection: Collection,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    tags: list[str],
) -> Entry:
    with archive.open(info) as stream:
        try:
            stored = store_upload(
                stream,  # type: ignore[arg-type]
                filename=info.filename,
                collection=collection,
                user=user,
                tags=tags,
            )
        except RetrievalError as error:
            if error.retryable or error.http_status >= 500:  # not the file's fault: tell the sender
                raise
            return Entry(info.filename, error=error)
    return Entry(info.filename, stored.image, stored.created)
