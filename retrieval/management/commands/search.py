"""`manage.py search`: the same queries as pages and API."""

from __future__ import annotations

import argparse
import json
import uuid
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from retrieval import search, services
from retrieval.errors import RetrievalError
from retrieval.management.awaiting import await_images
from retrieval.management.prepared import prepare
from retrieval.models import Collection


class Command(BaseCommand):
    help = "Find pictures by a picture, by class shares, or by a query in JSON."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--image", help="a file, or the id of a stored picture")
        parser.add_argument("--query", default="{}", help="JSON, see docs/search.md")
        parser.add_argument("--collection", help="name")
        parser.add_argument("--limit", type=int)
        parser.add_argument("--user", help="whose view; default: the first administrator")
        parser.add_argument("--json", action="store_true")

    def handle(
        self,
        *,
        image: str | None,
        query: str,
        collection: str | None,
        limit: int | None,
        user: str | None,
        **options: Any,
    ) -> None:
        try:
            answer = self._answer(image, query, collection, limit, user)
        except RetrievalError as error:
            raise CommandError(error.message) from error
        results = [
            {
                "id": str(hit.image.pk),
                "title": hit.image.title,
                "score": hit.score,
                "parts": dict(hit.parts),
            }
            for hit in answer.hits
        ]
        if options["json"]:
            self.stdout.write(json.dumps({"plan": answer.plan, "results": results}))
            return
        for found in results:
            self.stdout.write(f"{found['score']:.3f}  {found['id']}  {found['title']}")
        self.stdout.write(
            f"{answer.plan['kind']}, {answer.plan['matching']} matching, {answer.plan['ms']} ms"
        )

    def _answer(
        self,
        image: str | None,
        text: str,
        collection: str | None,
        limit: int | None,
        name: str | None,
    ) -> search.Answer:
        release = prepare()
        users = get_user_model().objects
        user = (users.filter(username=name) if name else users.filter(is_superuser=True)).first()
        if user is None:
            raise CommandError(
                "there is no such user; ingest pictures first, or name one by --user"
            )
        try:
            payload = json.loads(text)
        except ValueError as error:
            raise CommandError(f"--query is not JSON: {error}") from error
        if image:
            payload.setdefault("like", []).append({"image": self._image(image, user)})
        if collection:
            pks = list(Collection.objects.filter(name=collection).values_list("pk", flat=True))
            if not pks:
                raise CommandError(f"there is no collection {collection!r}")
            payload.setdefault("where", {})["collections"] = pks
        if limit:
            payload["limit"] = limit
        return search.run(search.parse(payload, release=release), user)

    def _image(self, text: str, user: Any) -> str:
        try:
            return str(uuid.UUID(text))
        except ValueError:
            pass
        path = Path(text)
        if not path.is_file():
            raise CommandError(f"{text} is neither a file nor an id")
        with path.open("rb") as file:
            stored = services.upload_query(user, file, path.name)
        await_images([stored.image.pk], ("query",))
        return str(stored.image.pk)
