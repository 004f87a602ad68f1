"""Who may reach what: every route of the URL configuration by every kind of caller.

A route without a row fails. A row is a request and seven statuses, in the order of `CALLERS`. Each
request is rolled back before the next, so that all meet the same world.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from retrieval.models import (
    ApiToken,
)
from retrieval.services import create_token
from tests.access_world import places_fixture  # noqa: F401
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db
CALLERS = ("anonymous", "viewer", "editor", "owner", "other", "staff", "revoked")

# The usual rows. Pages send the anonymous to the sign-in page; revoked tokens are anonymous there.
OPEN = "200 200 200 200 200 200 200"
OWN = "401 200 200 200 200 200 401"  # everybody has some of their own
SEE = "401 200 200 200 404 200 401"
EDIT = "401 403 200 200 404 200 401"
MANAGE = "401 403 403 200 404 200 401"
MINE = "401 404 404 200 404 404 401"  # private even among members
PAGE_OWN = "302 200 200 200 200 200 302"
PAGE_SEE = "302 200 200 200 404 200 302"
PAGE_EDIT = "302 403 200 200 404 200 302"
PAGE_DONE = "302 302 302 302 302 302 302"  # a form that anybody signed in may post; then elsewhere


def with_status(row: str, success: int) -> str:
    """The row with another status for success."""
    return row.replace("200", str(success))


def created(row: str) -> str:
    return with_status(row, 201)


Request = tuple[str, str, Any]
IMAGE, COLLECTION = {"pk": "image"}, {"pk": "collection"}
QUERY = {"query": "{}"}
PAINTED = '{"layout": {"cells": [[0, 0, "sky"]]}}'

# name → [(method, arguments of the route by their place in the world, body or query, statuses)]
MATRIX: dict[str, list[tuple[str, dict[str, Any], Any, str]]] = {
    # --- the admin's sign-in page: shown to who may not enter; staff go on
    "admin_sign_in": [("GET", {}, None, "200 200 200 200 200 302 200")],
    # --- API: who one is
    "api:tokens": [
        ("GET", {}, None, OWN),
        ("POST", {}, {"username": "ada", "password": "wrong"}, "401 401 401 401 401 401 401"),
        ("POST", {}, {"username": "ada", "password": "secret"}, created(OPEN)),
    ],
    "api:token": [("DELETE", {"pk": "token"}, None, with_status(MINE, 204))],
    "api:me": [("GET", {}, None, OWN)],
    # --- API: collections
    "api:collections": [
        ("GET", {}, None, OWN),
        ("POST", {}, {"name": "A new one"}, created(OWN)),
    ],
    "api:collection": [
        ("GET", COLLECTION, None, SEE),
        ("PATCH", COLLECTION, {"name": "Renamed"}, MANAGE),
        ("DELETE", COLLECTION, None, with_status(MANAGE, 204)),
    ],
    "api:members": [("GET", COLLECTION, None, MANAGE)],
    "api:member": [
        ("PUT", {**COLLECTION, "username": "new"}, {"role": "viewer"}, created(MANAGE)),
        ("DELETE", {**COLLECTION, "username": "member"}, None, with_status(MANAGE, 204)),
    ],
    # --- API: pictures
    "api:images": [
        ("GET", {}, {"collection": "collection"}, SEE),
        ("POST", {}, {"collection": "collection"}, "401 400 400 400 400 400 401"),
    ],
    "api:archives": [("POST", {}, {}, "401 400 400 400 400 400 401")],
    "api:image": [
        ("GET", IMAGE, None, SEE),
        ("PATCH", IMAGE, {"title": "x"}, EDIT),
        ("DELETE", IMAGE, None, EDIT),
    ],
    "api:bulk": [("POST", {}, {"action": "delete", "filter": {"collection": "collection"}}, SEE)],
    "api:undo": [("POST", {"key": "nothing"}, None, "401 404 404 404 404 404 401")],
    "api:uploads": [("POST", {}, None, "401 400 400 400 400 400 401")],
    "api:upload_part": [
        ("GET", {"pk": "upload"}, None, MINE),
        ("HEAD", {"pk": "upload"}, None, MINE),
        ("PATCH", {"pk": "upload"}, None, "401 400 400 400 400 400 401"),
        ("DELETE", {"pk": "upload"}, None, with_status(MINE, 204)),
    ],
    # --- API: findings
    "api:analysis": [("GET", IMAGE, None, SEE)],
    "api:retry": [("POST", IMAGE, None, with_status(EDIT, 202))],
    "api:areas": [("GET", IMAGE, None, SEE)],
    "api:regions": [("GET", IMAGE, None, SEE)],
    "api:vectors": [("GET", IMAGE, None, SEE)],
    "api:similar": [("GET", IMAGE, None, SEE)],
    "api:mask": [("GET", IMAGE, None, SEE)],
    "api:mask_rle": [("GET", IMAGE, None, SEE)],
    "api:polygons": [("GET", IMAGE, None, SEE)],
    # --- API: searching
    "api:searches": [
        ("POST", {}, {"like": [{"image": "image"}]}, SEE),
        ("POST", {}, {}, OWN),
    ],
    "api:search": [("GET", IMAGE, None, SEE)],
    "api:explain": [("GET", {}, {"image": "image", "query": PAINTED}, SEE)],
    "api:words": [("GET", {}, {"text": "sky"}, OWN)],
    "api:count": [("GET", {}, QUERY, OWN)],
    "api:histograms": [("GET", {}, QUERY, OWN)],
    "api:layout": [("GET", {}, {"image": "image"}, SEE)],
    "api:charts": [("GET", {}, {"collection": "collection"}, SEE), ("GET", {}, None, OWN)],
    "api:map": [("GET", COLLECTION, None, SEE)],
    "api:duplicates": [("GET", COLLECTION, None, SEE)],
    "api:duplicate": [("PATCH", {"pk": "pair"}, {"state": "open"}, EDIT)],
    "api:saved_searches": [
        ("GET", {}, None, OWN),
        ("POST", {}, {"name": "n", "query": {}}, created(OWN)),
        ("POST", {}, {"name": "n", "collection": "collection", "shared": True}, created(EDIT)),
    ],
    "api:saved_search": [
        ("GET", {"pk": "saved"}, None, MINE),
        ("PATCH", {"pk": "saved"}, {"name": "n"}, MINE),
        ("DELETE", {"pk": "saved"}, None, with_status(MINE, 204)),
        # The editor's, shared in the owner's collection: who manages that may end the sharing.
        ("GET", {"pk": "shared"}, None, SEE),
        ("PATCH", {"pk": "shared"}, {"name": "n"}, "401 403 200 403 404 200 401"),
        ("PATCH", {"pk": "shared"}, {"shared": False}, EDIT),
        ("DELETE", {"pk": "shared"}, None, with_status(EDIT, 204)),
    ],
    "api:saved_answer": [
        ("POST", {"pk": "saved"}, {}, MINE),
        ("POST", {"pk": "shared"}, {}, SEE),
    ],
    # --- API: jobs, webhooks, the platform
    "api:jobs": [("GET", {}, {"collection": "collection"}, SEE)],
    "api:job_summary": [("GET", {}, {"collection": "collection"}, SEE)],
    "api:job_retry": [("POST", {}, {"collection": "collection"}, SEE)],
    "api:webhooks": [
        ("GET", {}, None, OWN),
        (
            "POST",
            {},
            {"collection": "collection", "url": "https://example.org/x"},
            created(MANAGE),
        ),
    ],
    "api:webhook": [
        ("GET", {"pk": "webhook"}, None, MINE),
        ("DELETE", {"pk": "webhook"}, None, with_status(MINE, 204)),
    ],
    "api:deliveries": [("GET", {"pk": "webhook"}, None, MINE)],
    "api:classes": [("GET", {}, None, OWN)],
    "api:health": [("GET", {}, None, OPEN)],
    "api:schema": [("GET", {}, None, "200 200 200 200 200 200 401")],
    "api:docs": [("GET", {}, None, OPEN)],
    "unknown_route": [("GET", {}, None, "404 404 404 404 404 404 404")],
    # --- pages
    "home": [("GET", {}, None, PAGE_OWN)],
    "login": [("GET", {}, None, "200 302 302 302 302 302 200")],
    "logout": [("POST", {}, None, PAGE_DONE)],
    "account": [("GET", {}, None, PAGE_OWN), ("POST", {}, {}, created(PAGE_OWN))],
    "revoke_token": [("POST", {"pk": "token"}, None, PAGE_DONE)],
    "create_collection": [("POST", {}, {"name": "Another"}, PAGE_DONE)],
    "collection": [("GET", COLLECTION, None, PAGE_SEE)],
    "collection_live": [("GET", COLLECTION, None, PAGE_SEE)],
    "upload": [("POST", COLLECTION, {}, "302 400 400 400 404 400 302")],
    "download": [("POST", COLLECTION, {"ids": "image"}, PAGE_SEE)],
    "act": [("POST", {**COLLECTION, "action": "delete"}, {"ids": ["image"]}, PAGE_SEE)],
    "undo": [("POST", {"key": "nothing"}, None, "302 404 404 404 404 404 302")],
    "image": [("GET", IMAGE, None, PAGE_SEE)],
    "explained": [("GET", IMAGE, None, PAGE_SEE)],
    "explained_state": [("GET", IMAGE, None, PAGE_SEE)],
    "stage": [("GET", {**IMAGE, "key": "features"}, None, PAGE_SEE)],
    "parts": [("GET", IMAGE, None, PAGE_SEE)],
    "parse_again": [("POST", IMAGE, None, "302 403 302 302 404 302 302")],
    "delete": [("POST", IMAGE, None, "302 403 302 302 404 302 302")],
    "thumb": [("GET", {**IMAGE, "side": "side"}, None, "302 404 404 404 404 404 302")],
    "original": [("GET", IMAGE, None, "302 404 404 404 404 404 302")],
    "jobs": [("GET", {}, {"collection": "collection"}, PAGE_SEE)],
    "retry_jobs": [("POST", {}, {"all": "1"}, PAGE_DONE)],
    "search": [("GET", {}, None, PAGE_OWN)],
    "search_upload": [("POST", {}, {}, "302 400 400 400 400 400 302")],
    "explore": [("GET", COLLECTION, None, PAGE_SEE)],
    "alike": [("GET", COLLECTION, None, PAGE_SEE)],
    "palette": [("GET", {}, None, OPEN)],
    "words": [("GET", {}, None, OPEN)],
    "set_language": [("POST", {}, {"language": "en"}, PAGE_DONE)],
    "health": [("GET", {}, None, OPEN)],
}
# Bulk changes answer 200 and leave alone what the caller may not change: that is checked apart.
_FORMS = {"upload", "download", "account", "create_collection", "retry_jobs", "search_upload"}
_FORMS |= {"set_language", "revoke_token", "parse_again", "delete", "logout", "api:archives"}


def routes(
    patterns: list[Any] | None = None, namespace: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    """Every route of the URL configuration with its full name."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name}", pattern


def test_every_route_has_a_row() -> None:
    names = {name for name, _ in routes() if not name.startswith("admin:")}
    assert names - set(MATRIX) == set(), "routes without a row: add them to MATRIX"
    assert set(MATRIX) - names == set(), "rows without a route"
    assert sum(name.startswith("admin:") for name, _ in routes()) > 40


def caller(name: str, places: dict[str, Any], api: bool) -> Client:
    """A client with the caller's token for the API, with a session for pages."""
    client = Client()
    if name == "anonymous" or (name == "revoked" and not api):
        return client
    user = places["staff"] if name == "staff" else places["people"].get(name)
    if name == "revoked":
        user = places["people"]["owner"]
    if not api:
        client.force_login(user)
        return client
    text = create_token(user, name)
    if name == "revoked":
        ApiToken.objects.filter(user=user, name=name).update(revoked_at=timezone.now())
    return Client(headers={"Authorization": f"Token {text}"})


def filled(value: Any, places: dict[str, Any]) -> Any:
    """The value with names of places replaced by what is there."""
    if isinstance(value, dict):
        return {key: filled(one, places) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, places) for one in value]
    return places.get(value, value) if isinstance(value, str) and value != "new" else value


def ask(client: Client, name: str, method: str, args: dict[str, Any], body: Any) -> Any:
    url = reverse(name, kwargs=args) if name != "unknown_route" else "/api/nothing"
    if method in ("GET", "HEAD"):
        return getattr(client, method.lower())(url, body or {})
    if name in _FORMS or (name == "api:images" and method == "POST"):
        return client.post(url, body or {})
    return client.generic(method, url, json.dumps(body or {}), "application/json")


def test_the_matrix(places) -> None:
    from django.core.cache import cache

    wrong, asked = [], 0
    for name, rows in MATRIX.items():
        clients = {who: caller(who, places, name.startswith("api:")) for who in CALLERS}
        for method, args, body, statuses in rows:
            for who, expected in zip(CALLERS, statuses.split(), strict=True):
                cache.clear()  # ten sign-ins a minute
                with transaction.atomic():
                    answer = ask(
                        clients[who], name, method, filled(args, places), filled(body, places)
                    )
                    transaction.set_rollback(True)
                asked += 1
                if answer.status_code != int(expected):
                    wrong.append(f"{method} {name} by {who}: {answer.status_code}, not {expected}")
    assert asked > 7 * len(MATRIX)
    assert not wrong, "\n".join(wrong)


def test_the_admin_is_for_staff_alone(places) -> None:
    # Those without a name send old addresses of rows to new ones.
    pages = [name for name, p in routes() if name.startswith("admin:") and p.name]
    clients = {who: caller(who, places, api=False) for who in CALLERS}
    wrong = []
    for name in pages:
        try:
            url = reverse(name)
        except NoReverseMatch:  # a route of one row
            of_row = ["1"] * _arguments(name)
            url = reverse(name, args=["retrieval"] if name == "admin:app_list" else of_row)
        for who, client in clients.items():
            if name in ("admin:login", "admin:jsi18n", "admin:logout") or who == "staff":
                continue
            answer = client.get(url)
            where = answer.headers.get("Location", "")
            if not (answer.status_code == 302 and "login" in where):
                wrong.append(f"{name} by {who}: {answer.status_code} {where}")
    assert not wrong, "\n".join(wrong)


def _arguments(name: str) -> int:
    return next(
        len(p.pattern.converters) or p.pattern.regex.groups for n, p in routes() if n == name
    )


def test_bulk_changes_reach_only_what_the_caller_may_change(places) -> None:
    pk = places["collection"]
    body = {"action": "delete", "filter": {"collection": pk}}
    for who, changed in (("viewer", 0), ("editor", 30)):
        with transaction.atomic():
            answer = ask(caller(who, places, True), "api:bulk", "POST", {}, body)
            assert answer.json()["changed"] == changed
            transaction.set_rollback(True)
        with transaction.atomic():
            client = caller(who, places, False)
            answer = ask(
                client,
                "act",
                "POST",
                {"pk": pk, "action": "delete"},
                {"ids": [places["image"]]},
            )
            assert answer.json()["changed"] == min(1, changed)
            transaction.set_rollback(True)


def test_nothing_of_others_in_lists(places) -> None:
    for path in ("images", "jobs", "collections", "webhooks", "tokens", "searches/saved"):
        mine = caller("owner", places, True).get(f"/api/v1/{path}")
        theirs = caller("other", places, True).get(f"/api/v1/{path}")
        for secret in (places["image"], "https://a.example/"):
            assert secret not in theirs.content.decode(), path
        assert mine.status_code == theirs.status_code == 200
