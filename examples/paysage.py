"""What the example scripts share: a session with the token, retries, errors, pages.

Needs `requests`. Reads PAYSAGE_URL (http://127.0.0.1:8000 by default) and PAYSAGE_TOKEN, a token of
the account page or of `POST /api/v1/tokens`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import requests

TRIES = 5


class Paysage:
    """The API below /api/v1 with a token."""

    def __init__(self) -> None:
        self.root = os.environ.get("PAYSAGE_URL", "http://127.0.0.1:8000").rstrip("/")
        self.session = requests.Session()
        token = os.environ.get("PAYSAGE_TOKEN", "")
        if not token:
            sys.exit("Set PAYSAGE_TOKEN to a token: make one on the account page.")
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request; again after Retry-After where the platform asks for that (429, 503).

        A request with a file must be safe to repeat: give it an Idempotency-Key.
        """
        for _ in range(TRIES):
            answer = self.session.request(
                method, f"{self.root}/api/v1/{path}", timeout=60, **options
            )
            if answer.status_code not in (429, 503):
                break
            time.sleep(int(answer.headers.get("Retry-After", "1")))
        if answer.status_code >= 400:
            error = answer.json()["error"]
            sys.exit(f"{error['code']}: {error['message']} (request {error['request_id']})")
        return answer

    def rows(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list, page by page."""
        while True:
            page = self.ask("GET", path, params=query).json()
            yield from page["results"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def collection(self, name: str, make: bool = False) -> int:
        """The id of the collection of this name; a new one where that is wanted."""
        for row in self.rows("collections", fields="id,name"):
            if row["name"] == name:
                return int(row["id"])
        if not make:
            sys.exit(f"There is no collection {name!r}.")
        return int(self.ask("POST", "collections", json={"name": name}).json()["id"])
