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
from retrieval.models import Collection, Release
from retrieval.search import words


class Command(BaseCommand):
    help = "Find pictures by a picture, by class shares, or by a query in JSON."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--image", help="a file, or the id of a stored picture")
        parser.add_argument("--query", default="{}", help="JSON, see docs/search.md")
        parser.add_argument("--collection", help="name")
        parser.add_argument("--words", help='as in "street with car and trees, no people"')
        parser.add_argument("--limit", type=int)
        parser.add_argument("--cursor", help="of the page before")
        parser.add_argument("--exact", action="store_true", help="compare all that match")
        parser.add_argument("--user", help="whose view; default: the first administrator")
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        try:
            answer = self._answer(options)
        except RetrievalError as error:
            raise CommandError(error.message) from error
        results = [
            {
                "id": str(hit.image.pk),
                "title": hit.image.title,
                "score": hit.score,
                "parts": dict(hit.parts),
                "percentiles": dict(hit.percentiles),
                "regions": [matched.to_json() for matched in hit.regions],
            }
            for hit in answer.hits
        ]
        if options["json"]:
            body = {"plan": answer.plan, "cursor": answer.cursor, "results": results}
            self.stdout.write(json.dumps(body))
            return
        for found in results:
            self.stdout.write(f"{found['score']:.3f}  {found['id']}  {found['title']}")
        plan = answer.plan
        recall = ", recall of such a query was not measured" if plan["kind"] == "index" else ""
        if plan["recall"]:
            recall = f", recall@10 {plan['recall']['at_10']}"
        self.stdout.write(f"{plan['kind']}, {plan['matching']} matching, {plan['ms']} ms{recall}")
        if answer.cursor:
            self.stdout.write(f"next page: --cursor {answer.cursor}")

    def _answer(self, options: dict[str, Any]) -> search.Answer:
        release = prepare()
        name = options["user"]
        users = get_user_model().objects
        user = (users.filter(username=name) if name else users.filter(is_superuser=True)).first()
        if user is None:
            raise CommandError(
                "there is no such user; ingest pictures first, or name one by --user"
            )
        payload = self._payload(options, user, release)
        return search.run(search.parse(payload, release=release), user)

    def _payload(self, options: dict[str, Any], user: Any, release: Release) -> Any:
        """The query: what `--query` says, with what the other options add."""
        try:
            payload = json.loads(options["query"])
        except ValueError as error:
            raise CommandError(f"--query is not JSON: {error}") from error
        if not isinstance(payload, dict):
            return payload  # refused by the grammar
        if options["image"]:
            payload.setdefault("like", []).append({"image": self._image(options["image"], user)})
        if options["words"]:
            meaning = words.read(options["words"], release)
            payload["classes"] = [*payload.get("classes", []), *meaning.query["classes"]]
            if meaning.unused:
                self.stderr.write(f"not used: {', '.join(meaning.unused)}")
        if options["collection"]:
            pks = Collection.objects.filter(name=options["collection"]).values_list("pk", flat=True)
            if not pks:
                raise CommandError(f"there is no collection {options['collection']!r}")
            payload.setdefault("where", {})["collections"] = list(pks)
        for key in ("limit", "cursor", "exact"):
            if options[key]:
                payload[key] = options[key]
        return payload

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
