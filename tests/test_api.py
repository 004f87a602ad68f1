"""The REST API as a program uses it: tokens, collections, pictures, findings, jobs."""

from __future__ import annotations

import io
import json
import uuid

import numpy as np
import pytest
from django.test import Client
from PIL import Image as Pillow

from retrieval import coco
from retrieval.models import Analysis, ApiToken, Collection, Image, Mask, Membership
from retrieval.services import create_token
from tests.conftest import encoded, scene
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db
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


@pytest.fixture
def ada(world) -> Program:
    return Program(world["ada"])


@pytest.fixture
def ben(world) -> Program:
    return Program(world["ben"])


@pytest.fixture
def image(world) -> Image:
    return Image.objects.filter(collection=world["own"]).order_by("id")[0]


def refused(response, status: int, code: str) -> dict[str, str]:
    """That an answer is this error, in the one shape; the error."""
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["code"] == code, error
    assert error["message"] and error["request_id"]
    return error


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


# --- what was found ----------------------------------------------------------------------------


def test_findings_agree_with_each_other(ada, world, image):
    url = f"/images/{image.pk}"
    assert ada.send("GET", f"{url}/analysis").json()["state"] == "done"
    areas = ada.send("GET", f"{url}/areas").json()["results"]
    assert abs(sum(row["share"] for row in areas) - 1) < 1e-3
    assert [row["share"] for row in areas] == sorted((r["share"] for r in areas), reverse=True)
    regions = ada.send("GET", f"{url}/regions").json()["results"]
    assert abs(sum(row["area"] for row in regions) - 1) < 1e-3
    assert all("vector" not in row for row in regions)
    vectors = ada.send("GET", f"{url}/regions?vectors=true").json()["results"]
    assert all(abs(np.linalg.norm(row["vector"]) - 1) < 5e-3 for row in vectors)
    whole = ada.send("GET", f"{url}/vectors").json()
    for found in (whole["composition"], whole["context"], whole["layout"]["values"]):
        assert abs(np.linalg.norm(found) - 1) < 5e-3
    assert max(whole["layout"]["indices"]) < whole["layout"]["size"] == 64 * 20
    similar = ada.send("GET", f"{url}/similar?limit=5&collection={world['own'].pk}").json()
    assert len(similar["results"]) == 5
    assert str(image.pk) not in [hit["id"] for hit in similar["results"]]


def test_masks_as_png_run_lengths_and_polygons(ada, image):
    url = f"/images/{image.pk}"
    png = ada.send("GET", f"{url}/mask.png")
    assert png["Content-Type"] == "image/png" and png["X-Content-Type-Options"] == "nosniff"
    assert ada.send("GET", f"{url}/mask.png", If_None_Match=png["ETag"]).status_code == 304
    mask = np.asarray(Pillow.open(io.BytesIO(png.content)))
    text = ada.send("GET", f"{url}/mask/rle")
    assert ada.send("GET", f"{url}/mask/rle", If_None_Match=text["ETag"]).status_code == 304
    lists = ada.send("GET", f"{url}/mask/rle?counts=list").json()
    polygons = ada.send("GET", f"{url}/mask/polygons").json()
    rebuilt = np.full(mask.shape, 255, np.uint8)
    rows = zip(
        text.json()["annotations"], lists["annotations"], polygons["annotations"], strict=True
    )
    for short, long, outline in rows:
        height, width = short["segmentation"]["size"]
        counts = coco.decompressed(short["segmentation"]["counts"])
        assert counts == long["segmentation"]["counts"] and sum(counts) == height * width
        binary = coco.mask_of(counts, height, width)
        assert binary.sum() == short["area"] and coco.box_of(binary) == short["bbox"]
        rebuilt[binary] = short["category_id"]
        assert abs(_filled(outline, mask.shape) ^ binary).sum() == 0
    assert (rebuilt == mask).all()
    refused(ada.send("GET", f"{url}/mask/rle?counts=xml"), 400, "field_invalid")


def _filled(outline: dict[str, list[list[int]]], shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside the rings by the even-odd rule, by counting borders left of each pixel."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in [*outline["segmentation"], *outline["holes"]]:
        points = list(zip(ring[::2], ring[1::2], strict=True))
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return np.cumsum(crossings, 1)[:, :-1] % 2 == 1


def test_coco_text_is_that_of_the_coco_api():
    # From cocoapi's own documentation of rleToString: counts [0, 4, 3, 70] and back.
    for counts in ([6, 1, 40, 4, 5, 4, 5, 4, 21], [0, 5], [0, 100_000, 1, 3, 70_000], [10]):
        assert coco.decompressed(coco.compressed(counts)) == counts
    assert coco.compressed([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    mask = np.zeros((6, 5), bool)
    mask[1:4, 1:4] = True
    mask[2, 2] = False
    assert coco.run_lengths(mask) == [7, 3, 3, 1, 1, 1, 3, 3, 8]
    outer, holes = coco.polygons(mask)
    assert len(outer) == len(holes) == 1 and len(outer[0]) == 8
    corner = np.eye(3, dtype=bool)
    assert len(coco.polygons(corner)[0]) == 3  # touching by a corner is not touching


def test_findings_wait_for_the_analysis(ada, image):
    url = f"/images/{image.pk}"
    assert ada.send("POST", f"{url}/analysis/retry").status_code == 202
    refused(ada.send("GET", f"{url}/areas"), 409, "state_conflict")
    refused(ada.send("POST", f"{url}/analysis/retry"), 409, "state_conflict")
    Mask.objects.filter(image=image).delete()
    refused(ada.send("GET", f"{url}/mask.png"), 404, "not_found")


# --- uploads -----------------------------------------------------------------------------------


def test_many_files_get_a_result_each(world, ada):
    good, other = encoded(scene(1)), encoded(scene(2))
    answer = ada.upload(world["own"], good, b"no picture at all, just words", other, good)
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["created"], body["duplicates"], body["refused"]) == (2, 1, 1)
    assert body["results"][1]["error"]["code"] == "format_unsupported"
    assert body["results"][0]["image"]["id"] == body["results"][3]["image"]["id"]
    refused(ada.upload(world["public"], good, other), 403, "forbidden")


def test_an_idempotency_key_stores_once_and_answers_alike(world, ada, ben):
    data = encoded(scene(3))
    first = ada.upload(world["own"], data, Idempotency_Key="k1")
    again = ada.upload(world["own"], data, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json() and first["Location"] == again["Location"]
    assert again["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first
    # without the key it is what it is: there already
    assert ada.upload(world["own"], data).status_code == 200
    other = ada.upload(world["own"], encoded(scene(4)), Idempotency_Key="k1")
    refused(other, 422, "idempotency_key_reused")
    # a refusal is not kept, and another user's key is another key
    refused(
        ada.upload(world["own"], b"words, words", Idempotency_Key="k2"), 415, "format_unsupported"
    )
    assert ada.upload(world["own"], encoded(scene(5)), Idempotency_Key="k2").status_code == 201
    assert ben.upload(world["hidden"], data, Idempotency_Key="k1").status_code == 201


def test_a_key_in_use_and_a_key_of_yesterday(world, ada):
    from datetime import timedelta

    from django.utils import timezone

    from retrieval import idempotency
    from retrieval.models import IdempotentRequest

    data = encoded(scene(6))
    ada.upload(world["own"], data, Idempotency_Key="k")
    rows = IdempotentRequest.objects.filter(key="k")
    rows.update(status=None)
    refused(ada.upload(world["own"], data, Idempotency_Key="k"), 409, "idempotency_key_in_use")
    rows.update(created_at=timezone.now() - timedelta(minutes=6))  # its process died
    assert ada.upload(world["own"], data, Idempotency_Key="k").status_code == 200
    rows.update(created_at=timezone.now() - timedelta(hours=25))
    assert ada.upload(world["own"], encoded(scene(7)), Idempotency_Key="k").status_code == 201
    rows.update(created_at=timezone.now() - timedelta(hours=25))
    assert idempotency.expire() == 1


# --- jobs, classes, health ---------------------------------------------------------------------


def test_jobs_are_listed_counted_and_retried(world, ada, ben):
    rows = Analysis.objects.filter(collection=world["own"]).order_by("pk")
    failed = [row.pk for row in rows[:3]]
    rows.filter(pk__in=failed).update(state="failed", error_code="original_missing")
    listed = everything(ada, f"/jobs?state=failed&collection={world['own'].pk}", 2)
    assert sorted(row["id"] for row in listed) == failed
    summary = ada.send("GET", "/jobs/summary").json()
    assert summary["counts"]["failed"] == 3
    assert summary["reasons"] == [{"error_code": "original_missing", "state": "failed", "n": 3}]
    assert ben.send("POST", "/jobs/retry", {"ids": failed}).json() == {"changed": 0}
    assert ada.send("POST", "/jobs/retry", {"ids": failed[:1]}).json() == {"changed": 1}
    assert ada.send("POST", "/jobs/retry", {"code": "original_missing"}).json() == {"changed": 2}
    refused(ada.send("POST", "/jobs/retry", {"ids": "all"}), 400, "field_invalid")
    refused(ada.send("GET", "/jobs?state=lost"), 400, "field_invalid")


def test_classes_and_health(world, ada):
    classes = ada.send("GET", "/classes").json()
    assert classes["release"] == world["release"].name and len(classes["results"]) == 20
    assert classes["results"][0]["index"] == 0 and classes["next"] is None
    health = Client().get(f"{V1}/health")
    assert health.status_code == 200 and health.json()["database"] == "ok"
