"""The catalogue and its downloads: a broken line, a changed file, a wrong digest, a full disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segmentation import catalogue, download
from segmentation.checkpoints.layouts import LAYOUTS
from segmentation.errors import (
    CatalogueError,
    CheckpointError,
    DiskFull,
    DownloadCorrupt,
    DownloadError,
)
from segmentation.labels import LABEL_SETS
from segmentation.manifest import Manifest
from tests import published
from tests.conftest import ROOT


class Shelf(ThreadingHTTPServer):
    """Serves byte strings, badly when told to.

    Attributes:
        files: content by path. versions: ETag by path, none when absent.
        cuts: for each coming answer, after how many bytes the line breaks.
        asked: the Range header of each request, None without one.
        ranges: whether ranges are honoured.
        status: answered to everything when set.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}
        self.cuts: list[int] = []
        self.asked: list[str | None] = []
        self.ranges = True
        self.status = 0

    def put(self, name: str, data: bytes, version: str | None = '"1"') -> str:
        """Offer a file; its address."""
        self.files[f"/{name}"] = data
        self.versions.pop(f"/{name}", None)
        if version:
            self.versions[f"/{name}"] = version
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shelf

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        shelf = self.server
        asked = self.headers.get("Range")
        shelf.asked.append(asked)
        data = shelf.files.get(self.path)
        if data is None or shelf.status:
            self.send_error(shelf.status or 404)
            return
        version, start = shelf.versions.get(self.path), 0
        if asked and shelf.ranges and self.headers.get("If-Range") == version:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        body = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if version:
            self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = shelf.cuts.pop(0) if shelf.cuts else len(body)
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    server = Shelf()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


DATA = bytes(range(256)) * 8192  # 2 MiB
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_file_comes_whole_and_tells_how_far_it_is(shelf, tmp_path):
    seen: list[tuple[int, int | None]] = []
    url, target = shelf.put("weights", DATA), tmp_path / "deep" / "weights.pth"
    found = download.fetch(url, target, progress=lambda done, total: seen.append((done, total)))
    assert found == DIGEST and target.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA)) and len(seen) > 4
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]
    assert download.fetch(url, target, sha256=DIGEST) == DIGEST and len(shelf.asked) == 1


def test_a_broken_line_goes_on_where_it_broke(shelf, tmp_path):
    url = shelf.put("weights", DATA)
    shelf.cuts = [700_000, 300_000]
    target = tmp_path / "weights.pth"
    assert download.fetch(url, target, sha256=DIGEST, pause_s=0.01) == DIGEST
    assert shelf.asked == [None, "bytes=700000-", "bytes=1000000-"]
    assert target.read_bytes() == DATA


def test_after_a_failure_the_next_call_goes_on(shelf, tmp_path):
    url, target = shelf.put("weights", DATA), tmp_path / "weights.pth"
    shelf.cuts = [500_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="500000 bytes are kept"):
        download.fetch(url, target, pause_s=0.01)
    assert not target.exists() and DownloadError.retryable
    assert download.fetch(url, target, pause_s=0.01) == DIGEST
    assert shelf.asked[-1] == "bytes=500000-" and target.read_bytes() == DATA


@pytest.mark.parametrize("how", ["changed", "no ranges", "no version"])
def test_parts_of_different_files_are_never_joined(how, shelf, tmp_path):
    url = shelf.put("weights", DATA, None if how == "no version" else '"1"')
    shelf.cuts = [500_000, 0, 0, 0]
    with pytest.raises(DownloadError):
        download.fetch(url, tmp_path / "weights.pth", pause_s=0.01)
    new = DATA[::-1]
    shelf.put("weights", new, None if how == "no version" else '"2"')
    shelf.ranges = how != "no ranges"
    found = download.fetch(url, tmp_path / "weights.pth", pause_s=0.01)
    assert found == hashlib.sha256(new).hexdigest()
    assert (tmp_path / "weights.pth").read_bytes() == new


def test_a_wrong_digest_is_refused_and_nothing_kept(shelf, tmp_path):
    url = shelf.put("weights", DATA)
    with pytest.raises(DownloadCorrupt, match=f"sha256 {DIGEST}, not 0000"):
        download.fetch(url, tmp_path / "weights.pth", sha256="0" * 64)
    assert not list(tmp_path.iterdir())
    (tmp_path / "weights.pth").write_bytes(b"something else lay there")
    with pytest.raises(DownloadCorrupt):
        download.fetch(url, tmp_path / "weights.pth", sha256=DIGEST)
    assert download.fetch(url, tmp_path / "weights.pth", sha256=DIGEST) == DIGEST


def test_refusals_are_not_asked_for_again(shelf, tmp_path):
    shelf.put("weights", DATA)
    url = f"http://127.0.0.1:{shelf.server_address[1]}/absent"
    with pytest.raises(DownloadError, match="404"):
        download.fetch(url, tmp_path / "weights.pth", pause_s=0.01)
    assert len(shelf.asked) == 1
    shelf.status = 503
    with pytest.raises(DownloadError, match="503"):
        download.fetch(url, tmp_path / "weights.pth", pause_s=0.01)
    assert len(shelf.asked) == 5
    with pytest.raises(DownloadError, match="no http"):
        download.fetch("file:///etc/passwd", tmp_path / "weights.pth", pause_s=0.01)
    shelf.server_close()
    with pytest.raises(DownloadError, match="could not be fetched"):
        download.fetch("http://127.0.0.1:9/", tmp_path / "weights.pth", pause_s=0.01)


def test_a_full_disk_is_told_before_and_while_writing(shelf, tmp_path, monkeypatch):
    url, target = shelf.put("weights", DATA), tmp_path / "weights.pth"
    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"free": 1_500_000})
        patch.setattr(download.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(DiskFull, match="needs 2 MB more"):
            download.fetch(url, target)
    # Linux' own full device: every write to it fails as on a full disk.
    target.with_name("weights.pth.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="is full"):
        download.fetch(url, target)
    assert not target.exists() and DiskFull.http_status == 507
    target.with_name("weights.pth.part").unlink()
    assert download.fetch(url, target) == DIGEST


def small_catalogue(shelf: Shelf, folder: Path, **fields: object) -> Path:
    """A catalogue of one model, which the shelf serves."""
    (file,) = published.write("bubbliiiing", folder)
    row = {
        "name": "small",
        "title": "MobileNetV2 for tests",
        "url": shelf.put("small.pth", file.read_bytes()),
        "layout": "bubbliiiing",
        "labels": "voc",
        "miou": 68.6,
        "miou_multi_scale": None,
        "licence": "MIT",
        "source": "tests",
        "about_bytes": file.stat().st_size,
        "options": {"output_stride": 16},
        **fields,
    }
    file.unlink()
    path = folder / "catalogue.json"
    path.write_text(json.dumps([row]))
    return path


def test_a_model_is_installed_by_name_and_its_digest_pinned(shelf, tmp_path):
    path, home = small_catalogue(shelf, tmp_path), tmp_path / "releases"
    shelf.cuts = [3_000_000]
    seen: list[int] = []
    manifest = Manifest.load(
        catalogue.install("small", home, progress=lambda done, _: seen.append(done), path=path)
    )
    data = shelf.files["/small.pth"]
    assert seen[-1] == len(data)
    assert manifest.source["files"][0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest.metrics["published_miou"] == 68.6 and manifest.terms == "MIT"
    assert sorted(p.name for p in home.iterdir()) == ["small.json", "small.safetensors"]
    shelf.put("small.pth", data + b"changed", '"2"')
    with pytest.raises(DownloadCorrupt):  # the digest seen first must stay
        catalogue.install("small", home, path=path, overwrite=True)
    assert Manifest.load(home / "small.json").verify_weights()


def test_what_cannot_be_imported_is_fetched_anew(shelf, tmp_path):
    path, home = small_catalogue(shelf, tmp_path), tmp_path / "releases"
    good = shelf.files["/small.pth"]
    shelf.put("small.pth", b"<html>Sign in to the network first</html>")
    with pytest.raises(CheckpointError):
        catalogue.install("small", home, path=path)
    assert not list(home.iterdir())
    shelf.put("small.pth", good)
    assert catalogue.install("small", home, path=path).name == "small.json"


def test_the_right_file_is_kept_although_it_cannot_be_imported(shelf, tmp_path):
    digest = hashlib.sha256(b"no weights").hexdigest()
    path, home = small_catalogue(shelf, tmp_path, sha256=[digest]), tmp_path / "releases"
    shelf.put("small.pth", b"no weights")
    for _ in range(2):
        with pytest.raises(CheckpointError):
            catalogue.install("small", home, path=path)
    assert len(shelf.asked) == 1


def test_a_known_digest_is_checked(shelf, tmp_path):
    path = small_catalogue(shelf, tmp_path, sha256=["1" * 64])
    with pytest.raises(DownloadCorrupt, match="not 1111"):
        catalogue.install("small", tmp_path / "releases", path=path)


def test_the_catalogue_is_whole_and_loads_no_torch():
    rows = catalogue.entries()
    assert len(rows) > 50 and len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.layout in LAYOUTS and row.labels in LABEL_SETS and row.licence
        assert all(url.startswith(("http://", "https://")) for url in row.urls)
        assert 20 < row.miou < 90 and 10e6 < row.about_bytes < 400e6
    assert (catalogue.entry("mmseg-r50-ade20k-160k").miou) == 42.48
    with pytest.raises(CatalogueError, match="mmseg-r50-ade20k-160k"):
        catalogue.entry("r50-ade20k-160k")
    code = "import sys; from segmentation import catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
