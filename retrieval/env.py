"""The environment, read here and nowhere else. README's configuration table names each variable."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

VARIABLES: dict[str, tuple[str, str]] = {
    "PAYSAGE_HOME": ("var", "folder of all state: database, queue, pictures, logs"),
    "DATABASE_URL": ("", "a PostgreSQL with pgvector ≥ 0.8.4; empty: the embedded one"),
    "REDIS_URL": ("", "a Redis; empty: the embedded one"),
    "PAYSAGE_SECRET_KEY": ("", "Django's secret key; empty: made once and kept in PAYSAGE_HOME"),
    "PAYSAGE_HOSTS": ("127.0.0.1,localhost,[::1]", "host names that are answered, by comma"),
    "PAYSAGE_ORIGINS": ("", "https origins that may post forms, by comma"),
    "PAYSAGE_SECURE": ("0", "1 behind HTTPS: secure cookies, HSTS, redirect to https"),
    "PAYSAGE_DEBUG": ("0", "1 shows Django's error pages"),
    "PAYSAGE_DEVICE": ("auto", "where the network runs: auto, cpu, cuda, cuda:N"),
    "PAYSAGE_PRECISION": ("auto", "auto, float32 or bfloat16; auto: bfloat16 where it is fast"),
    "PAYSAGE_BATCH": ("16", "most pictures in one forward pass"),
    "PAYSAGE_LEASE_S": ("60", "seconds after which a silent worker's pictures go to another"),
    "PAYSAGE_SWEEP_S": ("30", "seconds between sweeps of the queue"),
    "PAYSAGE_STATISTICS_S": ("600", "seconds between looks at which collections have grown"),
    "PAYSAGE_MAX_UPLOAD_BYTES": ("20000000", "largest picture in bytes"),
    "PAYSAGE_MAX_ARCHIVE_BYTES": ("500000000", "largest ZIP, and largest request of many pictures"),
    "PAYSAGE_REQUESTS_PER_MINUTE": ("3000", "API requests a minute of one user; 429 above"),
    "PAYSAGE_WEBHOOK_PRIVATE": ("0", "1 lets webhooks reach private and loopback addresses"),
    "PAYSAGE_EXACT_ROWS": ("20000", "up to this many matching pictures are compared exactly"),
    "PAYSAGE_SHARED_DATA": ("../shared/data", "photographs with masks, for tests and training"),
}


class EnvironmentInvalid(RuntimeError):
    """Raised when a variable's value cannot be used; the message names the variable."""


def text(name: str) -> str:
    """The variable's value, or its default."""
    return os.environ.get(name) or VARIABLES[name][0]


def number(name: str) -> int:
    """A positive whole number; EnvironmentInvalid otherwise."""
    try:
        value = int(text(name))
    except ValueError:
        value = 0
    if value < 1:
        raise EnvironmentInvalid(f"{name} must be a positive whole number, not {text(name)!r}")
    return value


def choice(name: str, *options: str) -> str:
    """One of some words; EnvironmentInvalid otherwise."""
    value = text(name).lower()
    if value not in options:
        allowed = ", ".join(options)
        raise EnvironmentInvalid(f"{name} must be one of {allowed}, not {text(name)!r}")
    return value


def flag(name: str) -> bool:
    """True for 1, true, yes, on."""
    return text(name).lower() in ("1", "true", "yes", "on")


def words(name: str) -> list[str]:
    """The parts between commas."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def folder(name: str) -> Path:
    """An absolute path; relative ones count from the project's folder."""
    return (ROOT / text(name)).resolve()


def publish(name: str, value: str) -> None:
    """Set a variable for this process and its children, as an embedded service's address."""
    if name not in VARIABLES:
        raise EnvironmentInvalid(f"{name} is no setting of Paysage")
    os.environ[name] = value
