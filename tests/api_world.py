"""People and programs for tests of the API; each test is rolled back, which is quick."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from retrieval.models import Image
from retrieval.services import create_token
from retrieval.starter import ensure_starter_release

V1 = "/api/v1"


class Program(Client):
    """A client with a token that sends and reads JSON."""

    def __init__(self, user: object, scope: str = "write") -> None:
        token = create_token(user, "test", scope)
        super().__init__(headers={"Authorization": f"Token {token}"})

    def send(self, method: str, path: str, body: object = None, **headers: str):
        data = "" if body is None else json.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.generic(method, f"{V1}{path}", data, "application/json", headers=names)

    def upload(self, collection: object, *files: bytes, path: str = "/images", **headers: str):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        form = {"collection": collection.pk, "file": [self.file(data) for data in files]}  # type: ignore[attr-defined]
        return self.post(f"{V1}{path}", form, headers=names)

    @staticmethod
    def file(data: bytes, name: str = "picture.jpg") -> io.BytesIO:
        file = io.BytesIO(data)
        file.name = name
        return file


@pytest.fixture(name="people")
def people_fixture(db: None) -> dict[str, object]:
    """As `people` of conftest, in the test's own transaction."""
    ensure_starter_release()
    users = get_user_model().objects
    names = {name: users.create_user(name) for name in ("ada", "ben")}
    return {**names, "root": users.create_superuser("root")}


@pytest.fixture(name="ada")
def ada_fixture(world: dict[str, Any]) -> Program:
    return Program(world["ada"])


@pytest.fixture(name="ben")
def ben_fixture(world: dict[str, Any]) -> Program:
    return Program(world["ben"])


@pytest.fixture(name="image")
def image_fixture(world: dict[str, Any]) -> Image:
    return Image.objects.filter(collection=world["own"]).order_by("id")[0]


def refused(response, status: int, code: str) -> dict[str, str]:
    """That an answer is this error, in the one shape; the error."""
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["code"] == code, error
    assert error["message"] and error["request_id"]
    return error


def everything(program: Program, path: str, limit: int) -> list[dict[str, object]]:
    """All results of a list, page by page."""
    found, cursor = [], ""
    sign = "&" if "?" in path else "?"
    while True:
        page = program.send("GET", f"{path}{sign}limit={limit}{cursor}").json()
        found += page["results"]
        assert len(page["results"]) <= limit
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"
