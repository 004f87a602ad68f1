"""`manage.py benchmark api`: queries and milliseconds of each list of the API on many pictures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from retrieval.models import (
    Analysis,
    ApiToken,
    ClassArea,
    Collection,
    Delivery,
    Image,
    ImageTag,
    Membership,
    NearDuplicate,
    Release,
    SavedSearch,
    Tag,
    Webhook,
)
from retrieval.services import create_collection, create_token
from retrieval.starter import ensure_starter_release
from workers.scratch import scratch_database

PAGE = 100
CLASSES_PER_IMAGE = 5


class Crowd:
    """One user with many of everything, as bulk inserts leave it; no file, no vector.

    Args:
        images: pictures, parsed, in one collection; a hundredth of them failed.
        rows: of everything else: collections, members, tokens, webhooks, deliveries, pairs; at
            most half as many.
    """

    def __init__(self, images: int, rows: int) -> None:
        self.release: Release = ensure_starter_release()
        self.user: Any = get_user_model().objects.create_user("crowd")
        self.collection: Collection = create_collection(self.user, "A crowd")
        self.images = self._images(images)
        self._others(rows)

    def _images(self, count: int) -> list[Image]:
        now = timezone.now()
        made = [
            Image(
                collection=self.collection,
                uploader=self.user,
                sha256=hashlib.sha256(str(number).encode()).hexdigest(),
                size_bytes=400_000,
                width_px=1600,
                height_px=1200,
                format="JPEG",
                title=f"picture {number:06}",
                original="none",
                taken_at=now - timedelta(hours=number),
            )
            for number in range(count)
        ]
        Image.objects.bulk_create(made, 2000)
        Analysis.objects.bulk_create(
            [
                Analysis(
                    image=image,
                    release=self.release,
                    collection=self.collection,
                    state="failed" if number % 100 == 99 else "done",
                    finished_at=now,
                )
                for number, image in enumerate(made)
            ],
            2000,
        )
        tags = [
            Tag.objects.create(collection=self.collection, name=name) for name in ("fog", "sea")
        ]
        ImageTag.objects.bulk_create(
            [
                ImageTag(image=image, tag=tags[n % 2], collection=self.collection)
                for n, image in enumerate(made)
            ],
            5000,
        )
        self._areas(made)
        return made

    def _areas(self, images: list[Image]) -> None:
        rng = np.random.default_rng(0)
        classes = self.release.classes.count()
        rows = []
        for image in images:
            chosen = rng.permutation(classes)[:CLASSES_PER_IMAGE].tolist()
            shares = rng.dirichlet(np.ones(CLASSES_PER_IMAGE)).tolist()
            rows += [
                ClassArea(
                    image=image,
                    release=self.release,
                    collection=self.collection,
                    class_index=index,
                    fraction=share,
                )
                for index, share in zip(chosen, shares, strict=True)
            ]
        ClassArea.objects.bulk_create(rows, 5000)

    def _others(self, count: int) -> None:
        users = get_user_model().objects
        for number in range(count):
            create_collection(self.user, f"collection {number:03}")
            member = users.create(username=f"member {number:03}")
            Membership.objects.create(collection=self.collection, user=member, role="viewer")
            digest = hashlib.sha256(f"token {number}".encode()).hexdigest()
            ApiToken.objects.create(user=self.user, name=f"token {number}", digest=digest)
            SavedSearch.objects.create(owner=self.user, name=f"search {number:03}", query={})
            NearDuplicate.objects.create(
                collection=self.collection,
                first=self.images[2 * number],
                second=self.images[2 * number + 1],
                context=0.9,
                layout=0.9,
            )
        url = "https://example.org/"
        hooks = Webhook.objects.bulk_create(
            [
                Webhook(user=self.user, collection=self.collection, url=url, secret="s", events=[])
                for _ in range(count)
            ]
        )
        self.webhook = hooks[0]
        Delivery.objects.bulk_create(
            [Delivery(webhook=hooks[0], event="analysis.done", body={}) for _ in range(count)]
        )

    def lists(self) -> dict[str, str]:
        """Every list of the API by name, with its path below /api/v1/."""
        own = self.collection.pk
        return {
            "images": "images",
            "images of a collection": f"images?collection={own}",
            "images by title": f"images?collection={own}&sort=title",
            "images by tag": f"images?collection={own}&tag=fog",
            "images by class, largest first": f"images?collection={own}&class=sky&min=20&sort=area",
            "images by words in the title": f"images?collection={own}&text=picture 00",
            "images that failed": f"images?collection={own}&state=failed",
            "collections": "collections",
            "members": f"collections/{own}/members",
            "near-duplicates": f"collections/{own}/duplicates",
            "tokens": "tokens",
            "jobs": "jobs",
            "jobs that failed": f"jobs?state=failed&collection={own}",
            "saved searches": "searches/saved",
            "webhooks": "webhooks",
            "deliveries": f"webhooks/{self.webhook.pk}/deliveries",
            "classes": "classes",
        }

    def client(self) -> Client:
        """With a token of the user's."""
        token = create_token(self.user, "benchmark")
        return Client(headers={"Authorization": f"Token {token}"}, SERVER_NAME="localhost")


def ask(client: Client, path: str, limit: int = PAGE) -> dict[str, Any]:
    """A page of a list; any other status than 200 is an error."""
    cache.clear()  # the throttle would count a benchmark's requests
    answer = client.get(f"/api/v1/{path}{'&' if '?' in path else '?'}limit={limit}")
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code} {answer.content[:300]!r}")
    return answer.json()  # type: ignore[no-any-return]


def queries_of(work: Callable[[], Any]) -> int:
    """SQL queries that the work asks."""
    with CaptureQueriesContext(connection) as caught:
        work()
    return len(caught)


def _deep(client: Client, path: str, pages: int) -> str:
    """The path of a page far behind, by following cursors."""
    cursor = None
    for _ in range(pages):
        cursor = ask(client, path + (f"&cursor={cursor}" if cursor else ""), 200)["next"] or cursor
    return f"{path}&cursor={cursor}"


def measure(images: int, times: int) -> dict[str, Any]:
    """Of each list: rows, queries, and median and 95th percentile of milliseconds in the process."""
    with scratch_database():
        crowd = Crowd(images, PAGE)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        client = crowd.client()
        paths = crowd.lists()
        paths["images, a page far behind"] = _deep(
            client, paths["images of a collection"], images * 4 // 5 // 200
        )
        found: dict[str, Any] = {}
        for name, path in paths.items():
            rows = len(ask(client, path)["results"])
            queries = queries_of(lambda path=path: ask(client, path))  # type: ignore[misc]
            spent = []
            for _ in range(times):
                started = time.perf_counter()
                ask(client, path)
                spent.append(1000 * (time.perf_counter() - started))
            median, high = np.percentile(spent, (50, 95))
            found[name] = {
                "rows": rows,
                "queries": queries,
                "p50_ms": round(float(median), 1),
                "p95_ms": round(float(high), 1),
            }
    return {"images": images, "times": times, "lists": found}
