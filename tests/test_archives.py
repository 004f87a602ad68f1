"""ZIP uploads: pictures come in; what is dangerous is refused as a whole and leaves nothing."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from django.conf import settings

from retrieval.models import Image
from tests.api_world import Program, people_fixture, refused  # noqa: F401
from tests.conftest import encoded, scene


def zipped(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def files_below(folder: str) -> set[Path]:
    return {path for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture
def ada(collection) -> Program:
    return Program(collection.owner)


def send(ada: Program, collection: object, data: bytes, **headers: str):
    return ada.upload(collection, data, path="/archives", **headers)


def whole_refused(ada: Program, collection: object, data: bytes) -> str:
    """That nothing of the archive is kept anywhere; the message."""
    before = files_below(settings.MEDIA_ROOT)
    error = refused(send(ada, collection, data), 422, "archive_refused")
    assert not Image.objects.exists()
    assert files_below(settings.MEDIA_ROOT) == before
    assert not Path("/tmp/slipped.jpg").exists()
    return error["message"]


def test_pictures_of_a_zip_are_stored_and_others_are_told(collection, ada):
    first, second = encoded(scene(1)), encoded(scene(2), "PNG")
    data = zipped(
        ("trip/", b""),
        ("trip/one.jpg", first),
        ("trip/deep/zwei.png", second),
        ("trip/again.jpg", first),
        ("notes.txt", b"words, and no picture"),
        ("__MACOSX/._one.jpg", b"litter"),
        method=zipfile.ZIP_DEFLATED,
    )
    answer = send(ada, collection, data, Idempotency_Key="trip")
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["created"], body["duplicates"], body["refused"]) == (2, 1, 1)
    assert body["results"][3]["error"]["code"] == "format_unsupported"
    assert sorted(Image.objects.values_list("title", flat=True)) == ["one.jpg", "zwei.png"]
    again = send(ada, collection, data, Idempotency_Key="trip")
    assert again.json() == body and again["Idempotent-Replayed"] == "true"


PICTURE = encoded(scene(3))


@pytest.mark.parametrize(
    "name",
    [
        "../slipped.jpg",
        "a/../../slipped.jpg",
        "..\\slipped.jpg",
        "/tmp/slipped.jpg",
        "\\\\host\\share\\slipped.jpg",
        "C:/slipped.jpg",
    ],
)
def test_names_that_point_outside(collection, ada, name):
    message = whole_refused(ada, collection, zipped(("good.jpg", PICTURE), (name, PICTURE)))
    assert "slipped.jpg" in message


def test_links_and_devices(collection, ada):
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        info = zipfile.ZipInfo("link.jpg")
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        data = zipped(("good.jpg", PICTURE), (info, b"/etc/passwd"))
        assert "link" in whole_refused(ada, collection, data)


def test_bombs_stop_while_they_are_counted(collection, ada, settings):
    bomb = zipped(("bomb.jpg", b"\0" * 30_000_000), method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "20 MB" in whole_refused(ada, collection, bomb)
    settings.MAX_ARCHIVE_BYTES = 25_000_000
    many = [(f"{number}.jpg", b"\0" * 9_000_000) for number in range(3)]
    message = whole_refused(ada, collection, zipped(*many, method=zipfile.ZIP_DEFLATED))
    assert "25 MB unpacked" in message


def test_overlapping_entries_of_a_quine_bomb(collection, ada):
    """Two directory entries over the same bytes, as Fifield's bomb has (2019)."""
    data = zipped(("a.jpg", b"\0" * 1_000_000), method=zipfile.ZIP_DEFLATED)
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entry = data[start:end]
    tail = bytearray(data[end:])
    struct.pack_into("<2H2L", tail, 8, 2, 2, 2 * len(entry), start)
    whole_refused(ada, collection, data[:end] + entry.replace(b"a.jpg", b"b.jpg") + bytes(tail))


def test_archives_within_archives(collection, ada):
    inner = zipped(("one.jpg", PICTURE))
    for name in ("inner.zip", "disguised.jpg"):
        data = zipped(("good.jpg", PICTURE), (name, inner))
        assert "archive itself" in whole_refused(ada, collection, data)


def test_sizes_that_lie(collection, ada):
    data = zipped(("lie.jpg", PICTURE), method=zipfile.ZIP_DEFLATED)
    for size in (len(PICTURE) // 2, len(PICTURE) * 2):
        lying = bytearray(data)
        struct.pack_into("<L", lying, 22, size)  # in the local header
        struct.pack_into("<L", lying, data.index(b"PK\1\2") + 24, size)  # and in the directory
        whole_refused(ada, collection, bytes(lying))


def test_a_hundred_thousand_entries_cost_no_memory(collection, ada):
    import tracemalloc

    from retrieval.archives import store_archive
    from retrieval.errors import ArchiveRefused

    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", *(20, 20, 0, 0, 0, 33), 0, 0, 0, 5, *(0,) * 4, 0, 0
    )
    directory = b"".join(entry + b"%05d" % (number % 100_000) for number in range(100_000))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 5, 0) + b"00000"
    for told in (0xFFFF, 3):  # honest as far as the format goes, and lying
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, told, told, len(directory), len(local), 0)
        data = local + directory + end
        tracemalloc.start()
        with pytest.raises(ArchiveRefused):
            store_archive(collection.owner, collection, io.BytesIO(data))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000
        whole_refused(ada, collection, data)


def test_encrypted_and_strangely_compressed(collection, ada):
    plain = zipped(("one.jpg", PICTURE))
    locked = bytearray(plain)
    locked[6] |= 1
    locked[plain.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in whole_refused(ada, collection, bytes(locked))
    lzma = zipped(("one.jpg", PICTURE), method=zipfile.ZIP_LZMA)
    assert "deflate" in whole_refused(ada, collection, lzma)


def test_damage(collection, ada):
    data = zipped(("one.jpg", PICTURE), ("two.jpg", encoded(scene(4))))
    flipped = bytearray(data)
    flipped[200] ^= 1
    for broken in (
        b"no zip at all" * 10,
        data[:-30],
        data[: len(data) // 2],
        bytes(flipped),
        b"PK",
    ):
        whole_refused(ada, collection, broken)
    whole_refused(ada, collection, zipped())
    refused(send(ada, collection, b""), 422, "archive_refused")


def test_over_the_limit_while_it_streams(collection, ada, settings):
    settings.MAX_ARCHIVE_BYTES = 1_000_000
    answer = send(ada, collection, zipped(("a.jpg", b"x" * 1_500_000)))
    refused(answer, 413, "file_too_large")


def test_only_those_who_may(collection, ada, people):
    data = zipped(("one.jpg", PICTURE))
    refused(send(Program(people["ben"]), collection, data), 404, "not_found")
    refused(ada.post("/api/v1/archives", {"collection": collection.pk}), 400, "file_required")
