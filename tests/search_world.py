"""Described pictures in the database as a worker leaves them, without running a network."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils import timezone

from retrieval import queue, search, services, starter
from retrieval.models import Analysis, Descriptor, Image, Release
from segmentation.describe import Description, ParsedPicture, Whitening, describe
from segmentation.manifest import Manifest

CLASSES = 20
FEATURES = 24
_RNG = np.random.default_rng(5)
WHITENING = Whitening(
    _RNG.normal(size=FEATURES).astype(np.float32),
    _RNG.normal(size=(256, FEATURES)).astype(np.float32) / 16,
)
_CLASS_FEATURES = _RNG.normal(size=(CLASSES, FEATURES)).astype(np.float32)


def picture(rng: np.random.Generator, side: int = 48) -> ParsedPicture:
    """Random blocks of classes; features that follow the class, with noise in every cell."""
    blocks = rng.integers(0, CLASSES, (4, 4))
    blocks[rng.random((4, 4)) < 0.4] = rng.integers(0, CLASSES)
    mask = np.repeat(np.repeat(blocks, side // 4, 0), side // 4, 1).astype(np.uint8)
    mask[rng.integers(0, side, 20), rng.integers(0, side, 20)] = 3  # specks, for a rest
    grid = side // 6
    cells = mask[::6, ::6]
    features = _CLASS_FEATURES[cells] + 0.7 * rng.normal(size=(grid, grid, FEATURES))
    confidence = rng.uniform(0.5, 1, (grid, grid)).astype(np.float32)
    return ParsedPicture(mask, confidence, features.astype(np.float32))


def plant(collection: Any, count: int, seed: int) -> list[Description]:
    """Record `count` described pictures through the queue; their descriptions in order of id."""
    rng = np.random.default_rng(seed)
    release = Release.objects.get(state="active")
    token, until = uuid.uuid4(), timezone.now() + timedelta(minutes=5)
    found, described = [], []
    images, rows = [], []
    for number in range(count):
        digest = hashlib.sha256(f"world {seed} {number}".encode()).hexdigest()
        image = Image(
            collection=collection,
            sha256=digest,
            size_bytes=1,
            width_px=int(rng.integers(100, 900)),
            height_px=500,
            format="JPEG",
            title=f"{seed}-{number}",
            original="none",
        )
        images.append(image)
        rows.append(
            Analysis(
                image=image,
                release=release,
                collection=collection,
                state="running",
                lease_token=token,
                lease_until=until,
            )
        )
    Image.objects.bulk_create(images)
    for row in Analysis.objects.bulk_create(rows):
        claimed = queue.Claimed(
            row.pk, row.image_id, release.pk, collection.pk, 1, "none", row.image.sha256
        )
        description = describe(picture(rng), CLASSES, WHITENING)
        described.append(description)
        png = description.mask_png(Manifest.load("starter").palette)
        found.append(queue.Found(claimed, description, png, ("", "")))
    assert queue.record(token, found) == count
    return described


def ask(payload: dict[str, Any], user: Any) -> search.Answer:
    """Parse and run."""
    return search.run(search.parse(payload, release=Release.objects.get(state="active")), user)


def dense(row: Descriptor, space: str) -> np.ndarray:
    """A stored vector as float64, zeros included."""
    value = getattr(row, space)
    return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, np.float64)


def ids(answer: search.Answer) -> list[str]:
    """Ids of the hits in order."""
    return [str(hit.image.pk) for hit in answer.hits]


def make_world(count: int = 30) -> dict[str, Any]:
    """Ada's private collection, Ben's private one and a public one of Ben's, all committed."""
    starter.ensure_starter_release()
    users = get_user_model().objects
    people = {name: users.create_user(name, password="secret") for name in ("ada", "ben")}
    people["root"] = users.create_superuser("root", password="secret")
    own = services.create_collection(people["ada"], "own")
    hidden = services.create_collection(people["ben"], "hidden")
    public = services.create_collection(people["ben"], "public", "public")
    described = [plant(c, count, seed) for seed, c in enumerate((own, hidden, public))]
    release = Release.objects.get(state="active")
    names = {"own": own, "hidden": hidden, "public": public, "release": release}
    return {**people, **names, "described": described}


@pytest.fixture(scope="module", name="world")
def world_fixture(django_db_setup, django_db_blocker):
    """One world for all tests of a module; each of them is rolled back."""
    with django_db_blocker.unblock():
        yield make_world()
        call_command("flush", interactive=False, verbosity=0)
