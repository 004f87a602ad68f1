"""The real parts: embedded PostgreSQL and Redis in a temporary home, one worker for a session."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image as Pillow

from tests.embedded import HOME
from tests.platform import browser, page, platform, signed_in  # noqa: F401  # fixtures

ROOT = Path(__file__).resolve().parent.parent
SHARED = (ROOT / os.environ.get("PAYSAGE_SHARED_DATA", "../shared/data")).resolve()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no photographs: {SHARED.name} is not beside the checkout")
    return SHARED


def scene(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Pillow.Image:
    """A picture with a sky, a ground and a block, different for each seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    horizon = height * rng.integers(3, 7) // 10
    pixels[:horizon] = rng.integers((100, 140, 190), (150, 190, 255))
    pixels[horizon:] = rng.integers((40, 70, 30), (120, 140, 90))
    left, top = rng.integers(0, width // 2), rng.integers(height // 4, height // 2)
    pixels[top : top + height // 3, left : left + width // 4] = rng.integers(60, 200, 3)
    noise = rng.normal(0, 6, pixels.shape)
    return Pillow.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def encoded(picture: Pillow.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """One test database, whose name workers are told by DATABASE_URL."""


@pytest.fixture(scope="session", autouse=True)
def flushed_beside_the_worker() -> Iterator[None]:
    """Emptying all tables waits for its turn: a worker that looks for pictures holds some of them.

    TRUNCATE locks table after table, the worker's query in another order; PostgreSQL then ends one of
    the two. Nothing was emptied when it was ours, so it is asked again.
    """
    from django.db import OperationalError
    from django.db.backends.base.operations import BaseDatabaseOperations
    from psycopg.errors import DeadlockDetected

    once = BaseDatabaseOperations.execute_sql_flush

    def until_it_may(self: BaseDatabaseOperations, statements: list[str]) -> None:
        for _ in range(9):
            try:
                return once(self, statements)
            except OperationalError as error:
                if not isinstance(error.__cause__, DeadlockDetected):
                    raise
        return once(self, statements)

    BaseDatabaseOperations.execute_sql_flush = until_it_may  # type: ignore[method-assign]
    yield
    BaseDatabaseOperations.execute_sql_flush = once  # type: ignore[method-assign]


def database_url() -> str:
    """Address of the test database, for processes that tests start."""
    from urllib.parse import quote

    from django.db import connection

    values = connection.settings_dict
    host, port = str(values["HOST"]), str(values["PORT"])
    user, password = quote(str(values["USER"])), quote(str(values["PASSWORD"]))
    where = f"{user}:{password}@{'' if host.startswith('/') else host}{':' + port if port else ''}"
    query = f"?host={quote(host)}" if host.startswith("/") else ""
    return f"postgresql://{where}/{values['NAME']}{query}"


def start_worker(queues: str = "bulk,query", **environment: str) -> subprocess.Popen[bytes]:
    """A real Celery worker on the test database; the caller ends it."""
    env = {**os.environ, "DATABASE_URL": database_url(), "OMP_NUM_THREADS": "2", **environment}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "workers.app",
        "worker",
        "-Q",
        queues,
        "-c",
        "1",
        "-l",
        "WARNING",
        "--without-gossip",
        "--without-mingle",
    ]
    log = (HOME / "log" / "worker.log").open("ab")
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
    )


@pytest.fixture(scope="session")
def worker(django_db_setup: None, django_db_blocker: object) -> Iterator[subprocess.Popen[bytes]]:
    """One worker on both queues for all tests that need pictures parsed."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        process = start_worker()
    yield process
    process.terminate()
    process.wait(30)


@pytest.fixture
def people(transactional_db: None) -> dict[str, object]:
    """Ada owns things, Ben is somebody else, root administers; a release is active."""
    from django.contrib.auth import get_user_model

    from retrieval.starter import ensure_starter_release

    ensure_starter_release()
    users = get_user_model().objects
    return {
        "ada": users.create_user("ada", password="meadow-stone-7"),
        "ben": users.create_user("ben", password="meadow-stone-8"),
        "root": users.create_superuser("root", password="meadow-stone-9"),
    }


@pytest.fixture
def collection(people: dict[str, object]) -> object:
    """An empty private collection of Ada's."""
    from retrieval.services import create_collection

    return create_collection(people["ada"], "Meadows")


def until_quiet(url: str) -> None:
    """Wait until no bell of an earlier test is left, which would make that test's worker claim."""
    broker = redis.Redis.from_url(url)
    deadline = time.monotonic() + 60
    while broker.llen("bulk") or broker.llen("query") or broker.hlen("unacked"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def unheard(transactional_db: None, settings: object) -> None:
    """No bell reaches a worker that an earlier test began: what is queued stays so, or is parsed here."""
    url = settings.REDIS_URL  # type: ignore[attr-defined]
    redis.Redis.from_url(url).delete("bulk", "query")  # bells that nobody was there to hear
    until_quiet(url)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # type: ignore[attr-defined]


def store(collection: object, data: bytes, name: str = "picture.jpg", **options: object) -> object:
    """Upload bytes into a collection as its owner; the image row."""
    from retrieval.upload import store_upload

    owner = collection.owner  # type: ignore[attr-defined]
    return store_upload(
        io.BytesIO(data),
        filename=name,
        collection=collection,
        user=owner,
        **options,  # type: ignore[arg-type]
    ).image


def await_final(image: object, seconds: float = 60) -> object:
    """The image's analysis once it is final; swept meanwhile as the scheduler would."""
    from retrieval import queue
    from retrieval.doorbell import ring_now
    from retrieval.selectors import analysis_of

    ring_now("bulk")
    deadline = time.monotonic() + seconds
    swept = time.monotonic()
    while time.monotonic() < deadline:
        analysis = analysis_of(image)  # type: ignore[arg-type]
        if analysis is not None and analysis.state in analysis.FINAL:
            return analysis
        if time.monotonic() - swept > 2:
            queue.sweep()
            swept = time.monotonic()
        time.sleep(0.05)
    raise AssertionError(f"not final within {seconds} s: {analysis and analysis.state}")
