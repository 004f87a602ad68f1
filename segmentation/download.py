"""Fetching a large file over HTTP: goes on where it stopped, and never passes off half a file as whole."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segmentation.errors import DiskFull, DownloadCorrupt, DownloadError
from segmentation.manifest import sha256_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes there are so far and the bytes there will be, if the server said."""

_CHUNK = 1 << 18
_TRIES = 4
_TIMEOUT_S = 30.0
_RESERVE = 1 << 20  # a disk is not filled to its last byte


class _Changed(Exception):
    """The server's file is not the one that was begun: start anew."""

    def __str__(self) -> str:
        return "its parts are of different versions"


class _Part:
    """A download under way: `NAME.part` and, beside it, which version of the file it is part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        """The server's own mark of the version (ETag or date)."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            mark = json.loads(self.note.read_text())["version"]
            return mark if isinstance(mark, str) else None
        return None

    def begin(self, version: str | None) -> None:
        self.note.write_text(json.dumps({"version": version}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _open(url: str, part: _Part) -> tuple[Any, int, int | None]:
    """Response, the byte it starts at, and the whole file's size if known."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url} is no http address.")
    headers = {"User-Agent": "paysage", "Accept-Encoding": "identity"}
    have, version = part.size, part.version
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise _Changed from error
        raise
    length = response.headers.get("Content-Length")
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").partition("/")
        if not span.startswith(f"bytes {have}-"):
            raise _Changed
        return response, have, int(total) if total.isdigit() else None
    return response, 0, int(length) if length and length.isdigit() else None


def _version(response: Any) -> str | None:
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
        return str(tag)
    date = response.headers.get("Last-Modified")
    return str(date) if date else None


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE > free:
        raise DiskFull(
            f"The download needs {needed / 1e6:.0f} MB more and {folder} has {free / 1e6:.0f} MB "
            "left. Make room, or choose another folder."
        )


def _receive(url: str, part: _Part, progress: Progress | None) -> None:
    """One connection; raises where it ends before the file does."""
    response, start, total = _open(url, part)
    with response:
        if total is not None:
            _check_room(part.path.parent, total - start)
        if start == 0:
            part.begin(_version(response))
        done = start
        with part.path.open("ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _receive_all(url: str, part: _Part, progress: Progress | None, pause_s: float) -> None:
    failure: Exception | None = None
    for number in range(_TRIES):
        if number:
            time.sleep(pause_s * 2 ** (number - 1))
        try:
            return _receive(url, part, progress)
        except _Changed as error:
            failure = error
            part.remove()
        except urllib.error.HTTPError as error:
            failure = error
            if error.code < 500:
                break  # asking again does not help
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            failure = error
        except urllib.error.URLError as error:
            failure = error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"The disk of {part.path.parent} is full; {part.size / 1e6:.1f} MB are kept. "
                    "Make room and start again: it goes on there."
                ) from error
            raise
    kept = part.size
    raise DownloadError(
        f"{url} could not be fetched: {failure}. {kept} bytes are kept; start again to go on there."
    ) from failure


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> str:
    """Fetch a file to `target`, going on where an earlier try stopped.

    Args:
        sha256: hex digest it must have; None takes what comes.
        progress: see `Progress`.
        pause_s: seconds before the second try; doubled before each further one.

    Returns:
        The file's sha256.

    Raises:
        DownloadError: the server did not give it whole; what came is kept.
        DownloadCorrupt: it is another file; nothing is kept.
        DiskFull: there is no room; what came is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    if not target.exists():
        _receive_all(url, part, progress, pause_s)
        found = sha256_of(part.path)
        if sha256 and found != sha256.lower():
            part.remove()
            raise DownloadCorrupt(_another(url, found, sha256))
        os.replace(part.path, target)
        part.remove()
        return found
    found = sha256_of(target)
    if sha256 and found != sha256.lower():
        target.unlink()
        raise DownloadCorrupt(_another(url, found, sha256))
    return found


def _another(url: str, found: str, wanted: str) -> str:
    return (
        f"{url} gave another file than expected: sha256 {found}, not {wanted}. It was removed. Try "
        "again; should it stay so, the publisher has changed it, and it should not be trusted."
    )
