"""Keeps the platform's processes running, prefixes what they say, and stops them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.embedded.services import die_with_parent

_STOP_S = 20.0
_LONGEST_PAUSE_S = 30.0


@dataclass
class Child:
    """One supervised process; restarted with growing pauses when it ends, unless it runs `once`."""

    name: str
    command: list[str]
    once: bool = False
    process: subprocess.Popen[str] | None = None
    pause_s: float = 1.0
    started: float = field(default=0.0)

    def start(self, folder: Path) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        threading.Thread(target=self._echo, args=(self.process,), daemon=True).start()

    def _echo(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{self.name:>6} | {line.rstrip()}", file=sys.stderr, flush=True)

    def stop(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Starts children, restarts those that die, ends with SIGINT or SIGTERM."""

    def __init__(self, folder: Path, children: list[Child]) -> None:
        self.folder, self.children = folder, children
        self.ending = threading.Event()

    def start(self) -> None:
        """Start everything and take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.ending.set())
        for child in self.children:
            child.start(self.folder)

    def add(self, child: Child) -> None:
        """Start one more."""
        self.children.append(child)
        child.start(self.folder)

    def watch(self) -> None:
        """Return once asked to end; meanwhile restart what died."""
        while not self.ending.wait(0.5):
            for child in self.children:
                if child.process is None or child.process.poll() is None or child.once:
                    continue
                if time.monotonic() - child.started > 60:
                    child.pause_s = 1.0
                print(
                    f"{child.name:>6} | ended with {child.process.returncode}; "
                    f"again in {child.pause_s:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                if self.ending.wait(child.pause_s):
                    return
                child.pause_s = min(child.pause_s * 2, _LONGEST_PAUSE_S)
                child.start(self.folder)

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to who does not end in time, with all their descendants."""
        for child in self.children:
            child.stop(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for child in self.children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
