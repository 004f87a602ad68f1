"""`manage.py serve`: the whole platform on one command; what `make run` calls."""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TextIO

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from retrieval import env
from retrieval.embedded.services import EmbeddedError, prepare_home, start_services
from retrieval.embedded.supervisor import Child, Supervisor

_WEB_S = 180.0
"""How long the web server may take to be ready."""


class Command(BaseCommand):
    """Starts services, migrates, and supervises web server, workers and scheduler."""

    help = "Run the whole platform, with everything embedded that is not configured."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument(
            "--no-demo", action="store_true", help="do not load the demo collection"
        )

    def handle(self, *, host: str, port: int, no_demo: bool, **_: Any) -> None:
        try:
            home = prepare_home()
            lock = self._only_one(home)
            self._check_port(host, port)
            start_services()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        self._use_services()
        self._prepare()
        supervisor = Supervisor(env.ROOT, self._children(home, host, port))
        supervisor.start()
        try:
            self._await_web(supervisor, host, port)
            if not supervisor.ending.is_set():
                if not no_demo:
                    supervisor.add(self._demo())
                print(f"ready: http://{host}:{port}", flush=True)
            supervisor.watch()
        finally:
            print("stopping", file=sys.stderr, flush=True)
            supervisor.stop()
            lock.close()

    # --- before the start ---------------------------------------------------------------------

    def _only_one(self, home: Path) -> TextIO:
        """A lock that the kernel frees whatever happens to us, so no PID file can be stale."""
        file = (home / "run" / "serve.pid").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise EmbeddedError(
                f"{home} is in use by a running Paysage (process {file.read().strip()}); "
                "stop it, or set another PAYSAGE_HOME"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file

    def _check_port(self, host: str, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise EmbeddedError(
                    f"port {port} on {host} cannot be used ({error.strerror}); set PORT=another"
                ) from error

    def _use_services(self) -> None:
        """Settings were read before the services had addresses: hand those over."""
        from django.conf import settings
        from django.db import connections

        from retrieval.settings import _database

        settings.REDIS_URL = env.text("REDIS_URL")
        connections["default"].settings_dict.update(_database(env.text("DATABASE_URL")))

    def _prepare(self) -> None:
        from retrieval.management.prepared import ensure_administrator, prepare
        from retrieval.starter import newer_weights_shipped

        prepare()
        if newer_weights_shipped():
            print(
                "this version ships other weights than any release here has; to use them: "
                "manage.py release import starter --name NAME, then fill and promote NAME",
                file=sys.stderr,
                flush=True,
            )
        call_command(
            "collectstatic",
            interactive=False,
            verbosity=0,
            ignore_patterns=["browser-test-bundle.js", "demo", "src", "*.map"],
        )
        if said := ensure_administrator():
            print(said, flush=True)

    # --- children -----------------------------------------------------------------------------

    def _demo(self) -> Child:
        return Child("demo", [sys.executable, str(env.ROOT / "manage.py"), "demo"], once=True)

    def _children(self, home: Path, host: str, port: int) -> list[Child]:
        celery = [sys.executable, "-m", "celery", "-A", "workers.app"]

        def worker(queue: str) -> Child:
            options = ["worker", "-Q", queue, "-n", f"{queue}@%h", "-c", "1", "-l", "WARNING"]
            return Child(queue, [*celery, *options, "--without-gossip", "--without-mingle"])

        # Waits for others' servers, and does what is not to wait for parsing: sweeps, expiry,
        # releases, indexes, statistics. One thread for each.
        options = ["worker", "-Q", "hooks,releases", "-n", "hooks@%h", "-l", "WARNING"]
        options += ["-P", "threads", "-c", "6"]
        hooks = Child("hooks", [*celery, *options, "--without-gossip", "--without-mingle"])
        schedule = str(home / "run" / "schedule")
        web = [
            sys.executable,
            "-m",
            "gunicorn",
            "retrieval.wsgi:application",
            "--bind",
            f"{host}:{port}",
            "--workers",
            "1",
            "--threads",
            "12",
            "--worker-class",
            "gthread",
            "--timeout",
            "120",
            "--log-level",
            "warning",
        ]
        return [
            Child("web", web),
            worker("bulk"),
            worker("query"),
            hooks,
            Child("beat", [*celery, "beat", "-s", schedule, "-l", "WARNING", "--pidfile="]),
        ]

    def _await_web(self, supervisor: Supervisor, host: str, port: int) -> None:
        last, until = "nothing", time.monotonic() + _WEB_S
        while not supervisor.ending.wait(0.2):
            try:
                with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read(300).decode(errors='replace')}"
                if error.code < 500:
                    raise CommandError(f"the web server answered its probe with {last}") from error
            except (urllib.error.URLError, OSError) as error:
                last = str(error)
                if supervisor.children[0].process.poll() is not None:  # type: ignore[union-attr]
                    raise CommandError("the web server does not start; see above") from None
            if time.monotonic() > until:
                raise CommandError(f"the web server is not ready after {_WEB_S:.0f} s: {last}")
