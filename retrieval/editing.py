"""Changing what people say about a picture: title, tags, date, metadata."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.db import transaction

from retrieval import bulk
from retrieval.errors import FieldInvalid
from retrieval.models import Image, ImageTag
from retrieval.permissions import require_edit
from retrieval.upload import clean_title

User = Any
MAX_METADATA_BYTES = 16_384


def checked_metadata(value: Any) -> dict[str, Any]:
    """An object of at most `MAX_METADATA_BYTES` as JSON that PostgreSQL can store."""
    if not isinstance(value, dict):
        raise FieldInvalid("metadata is an object.", field="metadata")
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise FieldInvalid(
            "metadata holds a number that JSON has not.", field="metadata"
        ) from error
    if len(text) > MAX_METADATA_BYTES:
        raise FieldInvalid(f"metadata has at most {MAX_METADATA_BYTES} bytes.", field="metadata")
    if "\\u0000" in text:
        raise FieldInvalid("metadata cannot hold the character NUL.", field="metadata")
    return value


@transaction.atomic
def edit_image(
    user: User,
    image: Image,
    *,
    title: str | None = None,
    tags: list[str] | None = None,
    taken_at: datetime | bool | None = False,
    metadata: dict[str, Any] | None = None,
) -> Image:
    """Change what is given and leave the rest.

    Args:
        tags: all that the picture shall have.
        taken_at: None takes the date away; False leaves it.

    Raises:
        Forbidden, FieldInvalid: nothing is changed.
    """
    require_edit(user, image.collection)
    if title is not None:
        image.title = clean_title(title)
    if not isinstance(taken_at, bool):
        image.taken_at = taken_at
    if metadata is not None:
        image.metadata = checked_metadata(metadata)
    image.save(update_fields=("title", "taken_at", "metadata"))
    if tags is not None:
        had = set(ImageTag.objects.filter(image=image).values_list("tag__name", flat=True))
        wanted = {name.strip() for name in tags if name.strip()}
        one = Image.objects.filter(pk=image.pk)
        bulk.tag(user, one, wanted - had, had - wanted)
    return image
