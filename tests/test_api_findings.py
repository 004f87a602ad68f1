"""What a program reads of parsed pictures, uploads once, and asks of jobs, classes and health."""

from __future__ import annotations

import io

import numpy as np
import pytest
from django.test import Client
from PIL import Image as Pillow

from retrieval import coco
from retrieval.models import Analysis, Mask
from tests.api_world import (  # noqa: F401
    V1,
    Program,
    ada_fixture,
    ben_fixture,
    everything,
    image_fixture,
    refused,
)
from tests.conftest import encoded, scene
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db


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
    path = f"{url}/similar?limit=5&collection={world['own'].pk}&cursor={similar['cursor']}"
    after = ada.send("GET", path).json()["results"]
    assert not {h["id"] for h in after} & {h["id"] for h in similar["results"]}
    assert after[0]["score"] <= similar["results"][-1]["score"]
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
