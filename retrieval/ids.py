"""Identifiers and the storage names made from them; never from anything a user sent."""

from __future__ import annotations

import secrets
import uuid

import uuid6

_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def new_id() -> uuid.UUID:
    """A UUIDv7: ordered by time, so that new rows land at the end of their index."""
    return uuid.UUID(int=uuid6.uuid7().int)


def new_secret() -> str:
    """256 random bits as text that fits a header."""
    return secrets.token_urlsafe(32)


def _name(kind: str, collection_id: int, image_id: uuid.UUID, suffix: str) -> str:
    # A UUIDv7 begins with the time; only its end spreads files evenly over folders.
    return f"{kind}/{collection_id}/{image_id.hex[-2:]}/{image_id}{suffix}"


def original_name(collection_id: int, image_id: uuid.UUID, format_: str) -> str:
    """Storage name of an uploaded file; `format_` is JPEG, PNG or WEBP."""
    return _name("originals", collection_id, image_id, f".{_EXTENSIONS[format_]}")


def thumb_name(collection_id: int, image_id: uuid.UUID, side_px: int) -> str:
    """Storage name of the WebP thumbnail whose long side is at most `side_px`."""
    return _name("thumbs", collection_id, image_id, f"-{side_px}.webp")
