"""The REST API as a program uses it: tokens, errors, collections, lists, pictures."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from retrieval.models import Analysis, ApiToken, Collection, Image, Membership
from tests.api_world import (  # noqa: F401
    V1,
    Program,
    ada_fixture,
    ben_fixture,
    everything,
    image_fixture,
    refused,
)
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db


# --- tokens ------------------------------------------------------------------------------------


def test_tokens_are_made_shown_once_listed_and_revoked(world):
    form = {"username": "ada", "password": "secret", "name": "nightly", "scope": "read", "days": 7}
    made = Client().post(f"{V1}/tokens", form, content_type="application/json")
    assert made.status_code == 201
    text = made.json()["token"]
    row = ApiToken.objects.get(pk=made.json()["id"])
    assert text not in (row.digest, row.name) and row.scope == "read"
    assert 6 < (row.expires_at - row.created_at).total_seconds() / 86_400 < 8
    client = Client(headers={"Authorization": f"Token {text}"})
    assert client.get(f"{V1}/me").json()["token"]["name"] == "nightly"
    listed = client.get(f"{V1}/tokens").json()["results"]
    assert listed[0]["id"] == row.pk and "token" not in listed[0] and "digest" not in listed[0]
    refused(client.delete(f"{V1}/tokens/{row.pk}"), 403, "forbidden")  # it may read only
    assert Program(world["ada"]).send("DELETE", f"/tokens/{row.pk}").status_code == 204
    refused(client.get(f"{V1}/me"), 401, "token_invalid")


def test_a_token_for_reading_searches_but_changes_nothing(world, image):
    reader = Program(world["ada"], scope="read")
    like = {"like": [{"image": str(image.pk)}]}
    for path, body in (
        ("", like),
        ("/count", {"query": like}),
        ("/histograms", {}),
        ("/words", {"text": "sky"}),
        ("/explain", {"query": like, "image": str(image.pk)}),
    ):
        assert reader.send("POST", f"/searches{path}", body).status_code == 200, path
    for method, path in (
        ("POST", "/collections"),
        ("POST", "/searches/saved"),
        ("POST", "/images/bulk"),
        ("POST", "/uploads"),
        ("PATCH", f"/images/{image.pk}"),
        ("DELETE", f"/images/{image.pk}"),
    ):
        refused(reader.send(method, path, {}), 403, "forbidden")
    refused(reader.upload(world["own"], b"x"), 403, "forbidden")


def test_a_token_of_another_is_not_there(world, ben):
    token = ApiToken.objects.create(user=world["ada"], name="x", digest="d" * 64)
    refused(ben.send("DELETE", f"/tokens/{token.pk}"), 404, "not_found")
    wrong = {"username": "ada", "password": "guess"}
    answer = Client().post(f"{V1}/tokens", wrong, content_type="application/json")
    refused(answer, 401, "not_signed_in")


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/nothing", "/api/v2/images"])
def test_unknown_routes_answer_in_the_error_shape(client, db, path):
    for method in ("get", "post", "delete"):
        refused(getattr(client, method)(path), 404, "not_found")


def test_every_refusal_has_the_one_shape(ada):
    refused(ada.send("PUT", "/images"), 405, "method_not_allowed")
    broken = ada.post(f"{V1}/collections", "{no json", content_type="application/json")
    refused(broken, 400, "body_unreadable")
    listed = ada.post(f"{V1}/collections", "[1]", content_type="application/json")
    refused(listed, 400, "field_invalid")
    xml = ada.post(f"{V1}/collections", "<a/>", content_type="application/xml")
    refused(xml, 415, "media_type_unsupported")
    refused(ada.get(f"{V1}/me", headers={"Accept": "text/html"}), 406, "not_acceptable")
    refused(Client().get(f"{V1}/me"), 401, "not_signed_in")
    refused(ada.send("POST", "/collections", {"name": "a\0b"}), 400, "field_invalid")
    refused(ada.send("POST", "/collections", {"name": "a", "owner": 1}), 400, "field_invalid")
    refused(ada.send("GET", "/images?cursor=nonsense"), 400, "field_invalid")
    refused(ada.send("GET", "/collections?cursor=WzFd"), 400, "field_invalid")


def test_a_fault_of_ours_is_an_error_in_the_shape_too(ada, monkeypatch):
    def fails(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("retrieval.selectors.collection_for", fails)
    ada.raise_request_exception = False
    error = refused(ada.send("GET", "/collections/1"), 500, "internal_error")
    assert "fault" not in error["message"]


def test_throttles_say_when_to_come_again(ada, monkeypatch):
    from django.core.cache import cache
    from rest_framework.throttling import UserRateThrottle

    cache.clear()
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "3/min", "sign_in": "10/min"})
    answers = [ada.send("GET", "/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused(answers[-1], 429, "throttled")
    assert 1 <= int(answers[-1]["Retry-After"]) <= 61
    cache.clear()


def test_passwords_cannot_be_tried_faster_by_claiming_other_addresses(db):
    from django.core.cache import cache

    cache.clear()
    form = {"username": "ada", "password": "guess"}
    statuses = [
        Client(headers={"X-Forwarded-For": f"10.0.0.{n}"})
        .post(f"{V1}/tokens", form, content_type="application/json")
        .status_code
        for n in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    cache.clear()


# --- collections and members -------------------------------------------------------------------


def test_collections_are_made_changed_shared_and_removed(world, ada, ben):
    made = ada.send("POST", "/collections", {"name": "Fog"})
    assert made.status_code == 201
    pk = made.json()["id"]
    assert made.json()["role"] == "owner" and made.json()["visibility"] == "private"
    refused(ada.send("POST", "/collections", {"name": "Fog"}), 409, "name_taken")
    refused(ben.send("GET", f"/collections/{pk}"), 404, "not_found")
    member = ada.send("PUT", f"/collections/{pk}/members/ben", {"role": "viewer"})
    assert member.status_code == 201
    assert ben.send("GET", f"/collections/{pk}").json()["role"] == "viewer"
    refused(ben.send("PATCH", f"/collections/{pk}", {"name": "Mine"}), 403, "forbidden")
    refused(ben.send("GET", f"/collections/{pk}/members"), 403, "forbidden")
    assert ada.send("PUT", f"/collections/{pk}/members/ben", {"role": "manager"}).status_code == 200
    assert ben.send("PATCH", f"/collections/{pk}", {"name": "Mist"}).json()["name"] == "Mist"
    assert ben.send("GET", f"/collections/{pk}/members").json()["results"] == [
        {"username": "ben", "role": "manager"}
    ]
    refused(ben.send("DELETE", f"/collections/{pk}"), 403, "forbidden")  # the owner's alone
    assert ben.send("DELETE", f"/collections/{pk}/members/ben").status_code == 204
    refused(ben.send("GET", f"/collections/{pk}"), 404, "not_found")
    assert ada.send("DELETE", f"/collections/{pk}").status_code == 204
    assert not Collection.objects.filter(pk=pk).exists()


def test_roles_that_cannot_be(world, ada):
    url = f"/collections/{world['own'].pk}/members"
    refused(ada.send("PUT", f"{url}/ben", {"role": "king"}), 400, "field_invalid")
    refused(ada.send("PUT", f"{url}/nobody", {"role": "viewer"}), 404, "not_found")
    refused(ada.send("PUT", f"{url}/ada", {"role": "viewer"}), 400, "field_invalid")
    refused(ada.send("DELETE", f"{url}/ben"), 404, "not_found")
    assert not Membership.objects.exists()


# --- pages of lists ----------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["newest", "oldest", "taken", "title", "area&class=sky"])
def test_image_pages_hold_every_picture_once(world, ada, sort):
    path = f"/images?collection={world['own'].pk}&sort={sort}"
    whole, pages = everything(ada, path, 200), everything(ada, path, 7)
    assert [row["id"] for row in pages] == [row["id"] for row in whole]
    if "area" not in sort:
        assert len(whole) == 30


def test_all_lists_page_by_cursor(world, ada):
    for number in range(5):
        ada.send("POST", "/collections", {"name": f"c {number % 2} {number}"})
        ada.send("PUT", f"/collections/{world['own'].pk}/members/root", {"role": "viewer"})
    for path in ("/collections", "/jobs", "/tokens", "/images"):
        whole, pages = everything(ada, path, 200), everything(ada, path, 3)
        ids = [[row["id"] for row in rows] for rows in (whole, pages)]
        assert ids[0] == ids[1] and len(whole) >= (1 if path == "/tokens" else 2), path
    # nobody else's, whatever the filter
    ids = {row["collection"] for row in everything(ada, "/images", 200)}
    assert ids == {world["own"].pk, world["public"].pk}


def test_filters_of_images(world, ada, image):
    own = world["own"].pk
    ada.send("PATCH", f"/images/{image.pk}", {"tags": ["fog"], "title": "Bridge"})

    def found(query: str) -> list[str]:
        return [row["id"] for row in everything(ada, f"/images?collection={own}&{query}", 50)]

    assert found("tag=fog") == found("text=bridge") == [str(image.pk)]
    assert found("tag=fog&tag=night") == []
    assert len(found("state=done")) == 30 and found("state=failed") == []
    areas = ada.send("GET", f"/images/{image.pk}").json()["areas"]
    name, share = next(iter(areas.items()))
    assert str(image.pk) in found(f"class={name}&min={100 * share - 0.1}")
    assert str(image.pk) not in found(f"class={name}&min={100 * share + 0.1}")
    # without a collection the same filter goes over all that is visible
    assert [row["id"] for row in everything(ada, "/images?tag=fog", 50)] == [str(image.pk)]
    refused(ada.send("GET", f"/images?collection={world['hidden'].pk}"), 404, "not_found")
    refused(ada.send("GET", "/images?class=skyy"), 400, "field_invalid")


def test_sparse_fields_and_clamped_pages(world, ada, image):
    rows = ada.send("GET", "/images?fields=id,title&limit=100000").json()["results"]
    assert all(set(row) == {"id", "title"} for row in rows) and len(rows) == 60
    assert len(ada.send("GET", "/images?limit=0").json()["results"]) == 1
    assert set(ada.send("GET", f"/images/{image.pk}?fields=areas").json()) == {"areas"}
    assert set(ada.send("GET", "/collections?fields=id").json()["results"][0]) == {"id"}
    refused(ada.send("GET", "/images?fields=id,vector"), 400, "field_invalid")


# --- one picture -------------------------------------------------------------------------------


def test_a_picture_is_changed_only_as_it_was_read(ada, image):
    url = f"/images/{image.pk}"
    first = ada.send("GET", url)
    etag = first["ETag"]
    same = ada.send("GET", url, If_None_Match=etag)
    assert same.status_code == 304 and not same.content and same["ETag"] == etag
    change = {
        "title": "Bridge in fog",
        "tags": ["fog", "bridge"],
        "taken_at": "2026-05-31T12:00:00Z",
        "metadata": {"camera": "box"},
    }
    changed = ada.send("PATCH", url, change, If_Match=etag)
    assert changed.status_code == 200, changed.content
    body = changed.json()
    assert body["title"] == "Bridge in fog" and body["tags"] == ["bridge", "fog"]
    assert body["taken_at"] == "2026-05-31T12:00:00Z" and body["metadata"] == {"camera": "box"}
    late = ada.send("PATCH", url, {"title": "too late"}, If_Match=etag)
    refused(late, 412, "precondition_failed")
    refused(ada.send("DELETE", url, If_Match=etag), 412, "precondition_failed")
    again = ada.send("GET", url, If_None_Match=etag)
    assert again.status_code == 200 and again["ETag"] == changed["ETag"] != etag
    assert ada.send("PATCH", url, {"tags": [], "taken_at": None}).json()["tags"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"owner": 1},
        {"state": "done"},
        {"collection": 1},
        {"title": 7},
        {"title": "x" * 256},
        {"tags": "fog"},
        {"tags": ["x" * 81]},
        {"taken_at": "yesterday"},
        {"taken_at": "2026-05-31"},
        {"metadata": []},
        {"metadata": {"a": "x" * 20_000}},
        {"metadata": {"a": "\0"}},
    ],
)
def test_impossible_changes_change_nothing(ada, image, change):
    before = ada.send("GET", f"/images/{image.pk}").json()
    answer = ada.send("PATCH", f"/images/{image.pk}", {"title": "new", **change})
    assert answer.status_code == 400, answer.content
    assert ada.send("GET", f"/images/{image.pk}").json() == before


def test_deleting_can_be_undone(ada, ben, image):
    answer = ada.send("DELETE", f"/images/{image.pk}").json()
    assert answer["changed"] == 1
    refused(ada.send("GET", f"/images/{image.pk}"), 404, "not_found")
    undo = answer["undo"].removeprefix(V1)
    refused(ben.send("POST", undo), 404, "not_found")
    assert ada.send("POST", undo).json() == {"changed": 1}
    assert ada.send("GET", f"/images/{image.pk}").status_code == 200


# --- many pictures -----------------------------------------------------------------------------


def test_bulk_changes_by_ids_and_by_filter(world, ada, ben):
    own = world["own"].pk
    ids = [row["id"] for row in everything(ada, f"/images?collection={own}", 50)]
    tag = {"action": "tag", "ids": ids[:3], "add": ["fog"]}
    assert ada.send("POST", "/images/bulk", tag).json() == {"changed": 3}
    assert ben.send("POST", "/images/bulk", tag).json() == {"changed": 0}  # not his to change
    fog = {"collection": own, "tag": ["fog"]}
    untag = {"action": "tag", "filter": fog, "remove": ["fog"]}
    assert ada.send("POST", "/images/bulk", untag).json() == {"changed": 3}
    target = ada.send("POST", "/collections", {"name": "Elsewhere"}).json()["id"]
    move = {"action": "move", "ids": ids[:2], "to": target}
    assert ada.send("POST", "/images/bulk", move).json() == {"changed": 2, "duplicates": 0}
    again = {"action": "parse", "filter": {"collection": target}}
    assert ada.send("POST", "/images/bulk", again).json() == {"changed": 2}
    assert Analysis.objects.filter(collection=target, state="queued").count() == 2
    gone = ada.send("POST", "/images/bulk", {**again, "action": "delete"}).json()
    assert gone["changed"] == 2 and ada.send("POST", gone["undo"].removeprefix(V1)).json()


@pytest.mark.parametrize(
    "body",
    [
        {"action": "tag"},
        {"action": "burn", "ids": [str(uuid.uuid4())]},
        {"action": "delete", "filter": {}},
        {"action": "delete", "filter": {"text": "a"}},
        {"action": "delete", "ids": []},
        {"action": "delete", "ids": ["x"]},
        {"action": "delete", "ids": "x", "filter": {"collection": 1}},
        {"action": "tag", "ids": [str(uuid.uuid4())], "add": "fog"},
        {"action": "delete", "filter": {"collection": 1, "tagg": "x"}},
    ],
)
def test_bulk_slips_touch_nothing(ada, body):
    before = Image.objects.count()
    assert ada.send("POST", "/images/bulk", body).status_code in (400, 404)
    assert Image.objects.exclude(collection__kind="normal").count() == 0
    assert Image.objects.count() == before
