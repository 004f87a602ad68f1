"""Resumable uploads (tus 1.0): parts, checksums, broken connections, rights."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import pytest
from django.utils import timezone

from retrieval import resumable
from retrieval.models import Image, Upload
from tests.api_world import Program, people_fixture, refused  # noqa: F401
from tests.conftest import encoded, scene

DATA = encoded(scene(11))
PART = "application/offset+octet-stream"


@pytest.fixture
def ada(collection) -> Program:
    return Program(collection.owner)


def metadata(**values: object) -> str:
    pairs = (f"{k} {base64.b64encode(str(v).encode()).decode()}" for k, v in values.items())
    return ",".join(pairs)


def begin(ada: Program, where: object, data: bytes = DATA, body: bytes = b"", **values: object):
    values = {"filename": "tus.jpg", "collection": where.pk, **values}  # type: ignore[attr-defined]
    headers = {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(**values)}
    return ada.post("/api/v1/uploads", body, content_type=PART if body else "", headers=headers)


def part(ada: Program, url: str, offset: int, data: bytes, **headers: str):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ada.patch(url, data, content_type=PART, headers={"Upload-Offset": str(offset), **names})


def checksum(data: bytes, name: str = "sha256") -> str:
    return f"{name} {base64.b64encode(hashlib.new(name, data).digest()).decode()}"


def test_options_say_what_is_spoken(ada):
    answer = ada.options("/api/v1/uploads")
    assert answer.status_code == 204 and answer["Tus-Version"] == "1.0.0"
    assert "checksum" in answer["Tus-Extension"] and int(answer["Tus-Max-Size"]) == 20_000_000


def test_a_file_in_parts_becomes_a_picture(collection, ada):
    made = begin(ada, collection, tags="fog,night")
    assert made.status_code == 201 and made["Upload-Offset"] == "0"
    url, middle = made["Location"], len(DATA) // 2
    first = part(ada, url, 0, DATA[:middle], Upload_Checksum=checksum(DATA[:middle]))
    assert first.status_code == 204 and first["Upload-Offset"] == str(middle)
    assert "Paysage-Image" not in first
    asked = ada.head(url)  # as a client does that comes back
    assert asked["Upload-Offset"] == str(middle) and asked["Upload-Length"] == str(len(DATA))
    assert asked["Cache-Control"] == "no-store"
    last = part(ada, url, middle, DATA[middle:], Upload_Checksum=checksum(DATA[middle:], "sha1"))
    assert last.status_code == 204 and last["Paysage-Created"] == "1"
    image = Image.objects.get(pk=last["Paysage-Image"])
    assert image.title == "tus.jpg" and image.sha256 == hashlib.sha256(DATA).hexdigest()
    assert sorted(image.tags.values_list("name", flat=True)) == ["fog", "night"]
    assert ada.get(url).json()["image"] == str(image.pk)


def test_creation_with_upload_and_the_same_file_again(collection, ada):
    whole = begin(ada, collection, body=DATA)
    assert whole.status_code == 201 and whole["Paysage-Created"] == "1"
    again = begin(ada, collection, body=DATA)
    assert again["Paysage-Created"] == "0" and again["Paysage-Image"] == whole["Paysage-Image"]


def test_parts_at_the_wrong_place_and_altered_parts_are_thrown_away(collection, ada):
    url = begin(ada, collection)["Location"]
    refused(part(ada, url, 5, DATA[5:50]), 409, "offset_conflict")
    bad = part(ada, url, 0, DATA[:100], Upload_Checksum=checksum(DATA[1:101]))
    refused(bad, 460, "checksum_mismatch")
    assert ada.head(url)["Upload-Offset"] == "0"
    refused(part(ada, url, 0, DATA[:9], Upload_Checksum="md5 AAAA"), 400, "field_invalid")
    refused(part(ada, url, 0, DATA + b"more"), 413, "file_too_large")
    assert ada.head(url)["Upload-Offset"] == "0"
    assert part(ada, url, 0, DATA)["Paysage-Created"] == "1"


def test_bytes_behind_a_crash_are_cut_off(collection, ada):
    url = begin(ada, collection)["Location"]
    part(ada, url, 0, DATA[:100])
    upload = Upload.objects.get()
    with resumable.path_of(upload).open("ab") as file:  # written, but the row never moved on
        file.write(b"left behind by a crash")
    assert part(ada, url, 100, DATA[100:])["Paysage-Created"] == "1"
    assert Image.objects.get().sha256 == hashlib.sha256(DATA).hexdigest()


def test_a_broken_connection_keeps_what_arrived(collection, ada):
    begin(ada, collection)

    class Broken:
        parts = [DATA[:64]]

        def read(self, size: int) -> bytes:
            if self.parts:
                return self.parts.pop()
            raise OSError("connection reset")

    upload = resumable.receive(Upload.objects.get(), 0, Broken())
    assert upload.offset == 64
    checked = resumable.receive  # with a checksum the part cannot be trusted
    Broken.parts = [DATA[64:99]]
    with pytest.raises(resumable.ChecksumMismatch):
        checked(upload, 64, Broken(), checksum(DATA[64:200]))
    assert Upload.objects.get().offset == 64


def test_the_whole_files_checksum(collection, ada):
    url = begin(ada, collection, sha256="0" * 64)["Location"]
    refused(part(ada, url, 0, DATA), 460, "checksum_mismatch")
    assert not Image.objects.exists() and not Upload.objects.exists()
    good = begin(ada, collection, sha256=hashlib.sha256(DATA).hexdigest())
    assert part(ada, good["Location"], 0, DATA).status_code == 204


def test_refusals_before_and_after_the_bytes(collection, ada, people):
    refused(begin(ada, collection, b""), 400, "file_empty")
    refused(begin(ada, collection, b"x" * 20_000_001), 413, "file_too_large")
    refused(begin(ada, collection, collection="x"), 400, "field_invalid")
    refused(begin(ada, collection, sha256="x"), 400, "field_invalid")
    refused(begin(Program(people["ben"]), collection), 404, "not_found")
    words = b"no picture, only words and words"
    url = begin(ada, collection, words)["Location"]
    refused(part(ada, url, 0, words), 415, "format_unsupported")
    refused(ada.get(url), 404, "not_found")
    wrong = ada.patch(url, b"x", content_type="text/plain", headers={"Upload-Offset": "0"})
    refused(wrong, 400, "field_invalid")


def test_an_upload_is_its_users_and_can_be_given_up(collection, ada, people):
    url = begin(ada, collection)["Location"]
    ben = Program(people["ben"])
    for answer in (ben.get(url), ben.delete(url), part(ben, url, 0, DATA)):
        refused(answer, 404, "not_found")
    path = resumable.path_of(Upload.objects.get())
    assert path.exists() and ada.delete(url).status_code == 204 and not path.exists()


def test_two_parts_at_once(collection, ada):
    url = begin(ada, collection)["Location"]
    with resumable._alone(Upload.objects.get()):
        refused(part(ada, url, 0, DATA), 423, "upload_busy")
    assert part(ada, url, 0, DATA).status_code == 204


def test_forgotten_uploads_expire(collection, ada):
    url = begin(ada, collection)["Location"]
    path = resumable.path_of(Upload.objects.get())
    Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    refused(ada.get(url), 404, "not_found")
    assert resumable.expire() == 1 and not path.exists()
