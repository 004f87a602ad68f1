"""The platform as `make run` starts it, and a browser to visit it with; shared by all browser tests."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Platform:
    """A running platform."""

    process: subprocess.Popen[str]
    url: str
    password: str
    home: Path
    said: list[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return {**kept, "PAYSAGE_HOME": str(home), "PAYSAGE_LEASE_S": "20"}


def serve(home: Path, port: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "serve", "--port", str(port), *options]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def until_ready(process: subprocess.Popen[str], said: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if line.startswith("ready: "):
            return
    raise AssertionError("".join(said))


def services(home: Path) -> list[psutil.Process]:
    """PostgreSQL's and Redis's processes of a home, which are nobody's children.

    Told by the folder they run in: Redis rewrites its command line.
    """
    found, root = [], home.resolve()
    for process in psutil.process_iter(["name"]):
        name = process.info["name"] or ""
        if "postgres" not in name and "redis-server" not in name:
            continue
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(root):
                found.append(process)
    return found


def stop(process: subprocess.Popen[str], home: Path) -> list[psutil.Process]:
    """SIGTERM; what is still alive of all that it had started."""
    family = psutil.Process(process.pid).children(recursive=True) + services(home)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=10)
    return alive


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="paysage-run-", ignore_cleanup_errors=True) as folder:
        home, port, said = Path(folder), free_port(), []
        home.chmod(0o755)
        process = serve(home, port)
        until_ready(process, said)
        password = re.search(r"admin / (\S+)", "".join(said))
        assert password, said
        # keep reading, so that the platform never waits for us
        threading.Thread(target=lambda: said.extend(process.stdout or []), daemon=True).start()
        yield Platform(process, f"http://127.0.0.1:{port}", password[1], home, said)
        if folder_for_people := os.environ.get("PAYSAGE_SCREENSHOTS"):
            (Path(folder_for_people) / "platform.log").write_text("".join(said))
        alive = stop(process, home)
        assert not alive, alive
        started = time.monotonic()
        again, heard = serve(home, port), []
        until_ready(again, heard)
        assert time.monotonic() - started < 15
        assert not stop(again, home)


@pytest.fixture(scope="session")
def browser(platform: Platform) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        expect.set_options(timeout=60_000)  # machines are shared: slow is not wrong
        yield browser
        browser.close()


def listen(page: Page) -> list[str]:
    """Errors that a page's scripts and content policy complain of from now on."""
    complaints: list[str] = []

    def heard(message: object) -> None:
        text = message.text  # type: ignore[attr-defined]
        if message.type == "error" and "Failed to load resource" not in text:  # type: ignore[attr-defined]
            complaints.append(text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def sign_in(page: Page, platform: Platform) -> None:
    """As the administrator that the first start made."""
    page.goto(f"{platform.url}/sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(platform.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{platform.url}/")


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """One tab for a module's tests; nobody is signed in yet."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    complaints = listen(page)
    yield page
    page.close()
    assert not complaints, complaints


@pytest.fixture(scope="module")
def signed_in(page: Page, platform: Platform) -> Page:
    sign_in(page, platform)
    return page


def photographs(folder: Path) -> list[Path]:
    """Four pictures: real ones where they are, drawn ones elsewhere."""
    from tests.conftest import SHARED, encoded, scene

    if SHARED.is_dir():
        return sorted((SHARED / "photos").glob("*.jpg"))[:4]
    paths = []
    for seed in range(4):
        path = folder / f"picture-{seed}.jpg"
        path.write_bytes(encoded(scene(seed + 50)))
        paths.append(path)
    return paths


def shot(page: Page, name: str) -> None:
    """A screenshot for people, where PAYSAGE_SCREENSHOTS names a folder."""
    folder = os.environ.get("PAYSAGE_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png")
