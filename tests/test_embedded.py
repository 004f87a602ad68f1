"""The embedded services' lives, and what commands leave behind: nothing, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import psutil
import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from retrieval.management.awaiting import _consumers, _Workers
from retrieval.management.commands.demo import NAME
from retrieval.management.prepared import ensure_administrator
from retrieval.models import Collection, Image
from tests.conftest import encoded, scene
from tests.embedded import HOME
from tests.platform import ROOT, environment, services

USES_BOTH = """
import os, sys, redis
from django.db import connection
def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
    print("both answer", flush=True)
ask()
for line in sys.stdin:
    ask()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty PAYSAGE_HOME that the server's own user may reach; its services end with the test."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path.home().owner() and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    yield tmp_path
    for process in services(tmp_path):
        process.kill()


def command(home: Path) -> subprocess.Popen[str]:
    """A management command that uses both services, and again for each line it is sent."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", USES_BOTH],
        cwd=ROOT,
        env=environment(home),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def answers(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "both answer\n"


def asked_again(process: subprocess.Popen[str]) -> bool:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return answers(process)


def names(home: Path) -> set[str]:
    return {process.name() for process in services(home)}


def gone(home: Path, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while services(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not services(home)


def test_the_last_command_stops_what_the_first_one_started(home):
    first = command(home)
    assert answers(first)
    second = command(home)
    assert answers(second)
    assert {"postgres", "redis-server"} <= names(home)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 128 + signal.SIGTERM
    assert asked_again(second)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 128 + signal.SIGTERM
    assert gone(home)


def test_a_killed_commands_services_are_used_and_then_stopped(home):
    killed = command(home)
    assert answers(killed)
    before = {process.pid for process in services(home) if process.name() == "redis-server"}
    killed.kill()
    killed.wait(60)
    following = command(home)
    assert answers(following)
    after = {process.pid for process in services(home) if process.name() == "redis-server"}
    assert before == after  # used again, not started beside it
    following.stdin.close()  # its loop ends, as commands do
    assert following.wait(60) == 0
    assert gone(home)


@pytest.mark.django_db
def test_an_administrator_without_a_password_is_given_one():
    user = get_user_model().objects.create_user("root", is_staff=True, is_superuser=True)
    said = ensure_administrator()
    assert said is not None and said.startswith("admin account: root / ")
    password = said.split(" / ")[1].split()[0]
    assert authenticate(username="root", password=password) == user
    assert ensure_administrator() is None
    assert authenticate(username="root", password=password) == user


@pytest.mark.django_db(transaction=True)
def test_the_demo_is_loaded_once_even_when_it_is_deleted(collection):
    marker = HOME / "demo-loaded"
    marker.unlink(missing_ok=True)
    try:
        call_command("demo", count=2, stdout=StringIO())
        assert Image.objects.filter(collection__name=NAME).count() == 2
        Image.objects.filter(collection__name=NAME).delete()
        call_command("demo", count=2)
        assert not Image.objects.filter(collection__name=NAME).exists()
        call_command("demo", count=2, again=True)
        assert Image.objects.filter(collection__name=NAME).count() == 2
    finally:
        marker.unlink(missing_ok=True)


@pytest.mark.django_db(transaction=True)
def test_ingest_without_a_collections_name_says_so(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(scene(1)))
    with pytest.raises(CommandError, match=r"name"):
        call_command("ingest", str(tmp_path), collection="")
    assert not Collection.objects.exists()


@pytest.mark.django_db
def test_probes_are_answered_by_any_name_and_scheme(settings):
    settings.SECURE_SSL_REDIRECT = True
    client = Client(headers={"host": "10.9.8.7:8000"})
    answer = client.get("/healthz")
    assert answer.status_code == 200 and answer.json()["database"] == "ok"
    assert client.get("/sign-in").status_code in (301, 400)


def test_a_worker_of_ours_that_dies_is_started_again():
    queue = f"spare-{uuid.uuid4().hex[:8]}"
    workers = _Workers([queue])

    def listened() -> bool:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if _consumers(queue):
                return True
        return False

    try:
        workers.ensure()
        assert listened()
        first = workers._child
        assert first is not None
        workers.ensure()
        assert workers._child is first
        for process in psutil.Process(first.pid).children(recursive=True):
            process.kill()
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
        workers.ensure()
        assert workers._child is not first
        assert listened()
    finally:
        workers.stop()
