"""Why a hit is one: every table of an explanation adds up to the similarity it explains."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.test import Client

from retrieval import search, services
from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Image, Region, Release
from retrieval.search.explain import explain, to_json
from tests.search_world import ask, world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db


def why(payload, user, image):
    release = Release.objects.get(state="active")
    return explain(search.parse(payload, release=release), user, release, image)


def test_the_explanations_of_a_hundred_random_hits_add_up(world):
    rng = np.random.default_rng(3)
    images = [
        str(pk)
        for pk in Image.objects.exclude(collection=world["hidden"]).values_list("pk", flat=True)
    ]
    explained = 0
    while explained < 100:
        first, second, third = rng.choice(images, 3, replace=False)
        payload = {"like": [{"image": first, "weight": 2}], "limit": 8}
        if explained % 3:
            payload["like"].append({"image": second})
        if explained % 2:
            payload["unlike"] = [{"image": third}]
        answer = ask(payload, world["ada"])
        for hit in answer.hits:
            found = why(payload, world["ada"], hit.image.pk)
            assert abs(found.score - hit.score) < 1e-3
            assert abs(sum(p.share for p in found.pairs) - hit.parts["context"]) < 1e-3
            assert abs(found.cells.sum() - hit.parts["layout"]) < 1e-3
            assert abs(sum(row[3] for row in found.classes) - hit.parts["composition"]) < 1e-3
            told = to_json(found, 5)
            pairs = told["context"]["pairs"]
            total = sum(p["share"] for p in pairs) + told["context"]["others"]
            assert len(pairs) == 5 and abs(total - hit.parts["context"]) < 1e-3
            parts = told["parts"].values()
            assert abs(sum(part["contribution"] for part in parts) - hit.score) < 1e-3
            explained += 1


def test_the_strongest_pairs_are_linked_one_to_one(world):
    image, other = Image.objects.filter(collection=world["own"])[:2]
    found = why({"like": [{"image": str(image.pk)}]}, world["ada"], other.pk)
    linked = [pair for pair in found.pairs if pair.link is not None]
    assert [pair.link for pair in linked] == list(range(len(linked))) and 0 < len(linked) <= 6
    for end in ("query", "hit"):
        numbers = [getattr(pair, end).number for pair in linked]
        assert len(set(numbers)) == len(numbers)


def test_a_painted_scene_is_explained_by_its_cells(world):
    payload = {"layout": {"cells": [[0, 0, "sky"], [7, 7, "road"]]}, "limit": 3}
    hit = ask(payload, world["ada"]).hits[0]
    cells = why(payload, world["ada"], hit.image.pk).cells
    assert abs(cells.sum() - hit.score) < 1e-3
    assert np.flatnonzero(cells).tolist() in ([0], [63], [0, 63])


def test_regions_are_explained_by_what_they_found(world):
    image, other = Image.objects.filter(collection=world["own"])[:2]
    like = [{"image": str(image.pk), "region": 0}, {"image": str(image.pk), "box": [0, 0, 1, 0.5]}]
    payload = {"like": like, "limit": 200}
    hit = next(h for h in ask(payload, world["ada"]).hits if h.image.pk == other.pk)
    found = why(payload, world["ada"], other.pk)
    assert abs(found.score - hit.score) < 1e-3
    assert [r["number"] for r in found.regions] == [m.number for m in hit.regions]
    assert abs(sum(r["share"] for r in found.regions) - hit.parts["region"]) < 1e-3


def test_parts_sum_to_the_score_of_the_hit_in_either_metric(world):
    image, other, third = (str(i.pk) for i in Image.objects.filter(collection=world["own"])[:3])
    part, scene = {"image": other, "region": 0}, {"cells": [[0, 0, "sky"], [7, 7, "road"]]}
    queries = [
        {"like": [{"image": image}]},
        {"like": [{"image": image}], "unlike": [{"image": third}]},
        {"like": [{"image": image}, part], "unlike": [{"image": third, "region": 0}]},
        {"like": [{**part, "class": "car"}]},
        {"layout": scene},
        {"like": [{"image": image}, part], "layout": scene},
    ]
    for payload in queries:
        for metric in ("cosine", "euclidean"):
            answer = ask({**payload, "metric": metric, "limit": 5}, world["ada"])
            for hit in answer.hits:
                found = why({**payload, "metric": metric}, world["ada"], hit.image.pk)
                assert abs(found.score - hit.score) < 2e-3
                assert found.scores == pytest.approx(dict(hit.parts), abs=2e-3)
                told = to_json(found)
                total = sum(p["contribution"] for p in told["parts"].values())
                assert total == pytest.approx(told["score"])
                if metric == "cosine":
                    assert found.scores == pytest.approx(found.similarities)


def test_a_picture_without_such_a_segment_is_as_unlike_as_can_be(world):
    image, other = Image.objects.filter(collection=world["own"])[:2]
    Region.objects.filter(image=other).update(class_index=None)
    payload = {"like": [{"image": str(image.pk), "region": 0}], "metric": "euclidean"}
    assert why(payload, world["ada"], other.pk).score == 0


def test_what_cannot_be_explained_says_why(world):
    image = Image.objects.filter(collection=world["own"]).first()
    hidden = Image.objects.filter(collection=world["hidden"]).first()
    with pytest.raises(QueryInvalid, match="area"):
        why({"classes": [{"name": "sky", "min": 0.1}]}, world["ada"], image.pk)
    with pytest.raises(NotFound):
        why({"like": [{"image": str(image.pk)}]}, world["ada"], hidden.pk)
    with pytest.raises(NotFound):
        why({"like": [{"image": str(hidden.pk)}]}, world["ada"], image.pk)


def test_rest_explains_by_get_and_post(world):
    client = Client(headers={"Authorization": f"Token {services.create_token(world['ada'], 't')}"})
    image, other = (str(i.pk) for i in Image.objects.filter(collection=world["own"])[:2])
    query = {"like": [{"image": image}]}
    body = {"query": query, "image": other, "pairs": 3}
    posted = client.post("/api/v1/searches/explain", body, content_type="application/json")
    fetched = client.get("/api/v1/searches/explain", {**body, "query": json.dumps(query)})
    assert posted.status_code == fetched.status_code == 200
    assert posted.json() == fetched.json() and len(posted.json()["context"]["pairs"]) == 3
    for wrong, field in (({**body, "image": "x"}, "image"), ({**body, "pairs": -1}, "pairs")):
        answer = client.post("/api/v1/searches/explain", wrong, content_type="application/json")
        assert answer.status_code == 400 and answer.json()["error"]["field"] == field
