"""Regions, boxes and painted scenes: the answer of SQL equals plain NumPy; pages are a partition."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.test import Client

from retrieval import services
from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Descriptor, Image, Mask, Region
from retrieval.search import boxes
from retrieval.search.vectors import numbers, painted
from tests.search_world import CLASSES, ask, dense, ids, world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db


def segments(user_collections, class_index=None):
    """{image id: [(number, class, vector)]} of segments proper, straight from the table."""
    rows = Region.objects.filter(collection__in=user_collections, class_index__isnull=False)
    if class_index is not None:
        rows = rows.filter(class_index=class_index)
    found = {}
    for row in rows:
        vector = numbers(row.vector)
        found.setdefault(str(row.image_id), []).append((row.number, row.class_index, vector))
    return found


def best(found, image, vector):
    return max((float(v @ vector), number) for number, _, v in found[image])


def test_a_region_finds_its_like_and_says_which_segment_it_was(world):
    visible = [world["own"], world["public"]]
    region = Region.objects.filter(collection=world["own"], class_index__isnull=False)[5]
    example = {"image": str(region.image_id), "region": region.number}
    answer = ask({"like": [example], "limit": 200}, world["ada"])
    assert answer.plan["kind"] == "exact" and answer.plan["rank"] == {"region": 1.0}
    found = segments(visible)
    vector = numbers(region.vector)
    expected = {i: best(found, i, vector) for i in found if i != str(region.image_id)}
    assert set(ids(answer)) == set(expected)
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in answer.hits:
        similarity, number = expected[str(hit.image.pk)]
        (matched,) = hit.regions
        assert abs(hit.score - similarity) < 2e-3 and abs(matched.similarity - hit.score) < 1e-3
        row = Region.objects.get(image=hit.image, number=matched.number)
        assert matched.number == number or abs(matched.similarity - similarity) < 2e-3
        assert list(matched.box) == row.box and matched.class_index == row.class_index


def test_a_region_may_be_limited_to_a_class(world):
    region = Region.objects.filter(collection=world["own"], class_index__isnull=False).first()
    name = "road"
    payload = {
        "like": [{"image": str(region.image_id), "region": region.number, "class": name}],
        "limit": 200,
    }
    answer = ask(payload, world["ada"])
    found = segments([world["own"], world["public"]], 4)
    found.pop(str(region.image_id), None)
    assert 0 < len(found) < 60 and set(ids(answer)) == set(found)
    assert answer.plan["matching"] == len(found)
    assert all(hit.regions[0].class_name == name for hit in answer.hits)


def test_several_regions_each_look_for_their_own(world):
    one, two = Region.objects.filter(collection=world["own"], number=0).order_by("id")[:2]
    bad = Region.objects.filter(collection=world["own"], number=1).last()
    payload = {
        "like": [
            {"image": str(one.image_id), "region": 0, "weight": 3},
            {"image": str(two.image_id), "region": 0},
        ],
        "unlike": [{"image": str(bad.image_id), "region": 1}],
        "limit": 200,
    }
    answer = ask(payload, world["ada"])
    found = segments([world["own"], world["public"]])
    v1, v2, v3 = (numbers(r.vector) for r in (one, two, bad))
    for hit in answer.hits:
        image = str(hit.image.pk)
        a, b, c = (best(found, image, v)[0] for v in (v1, v2, v3))
        assert abs(hit.score - (0.75 * a + 0.25 * b - 0.25 * c)) < 3e-3
        assert [matched.example for matched in hit.regions] == [0, 1]


def test_a_box_around_a_region_is_that_region_and_one_around_all_the_picture(world):
    image = Image.objects.filter(collection=world["own"]).first()
    classes = boxes.class_map(Mask.objects.get(image=image))
    whole = boxes.covered(classes, (0, 0, 1, 1))
    regions = {r.number: r for r in Region.objects.filter(image=image)}
    assert set(whole) == set(regions)
    for number, share in whole.items():
        assert abs(share - regions[number].area) < 1e-6
    context = dense(Descriptor.objects.get(image=image), "context")
    vectors = {number: r.norm * numbers(r.vector) for number, r in regions.items()}
    assert boxes.box_vector(whole, vectors) @ context > 0.9999
    # the first block of the picture, 12 of 48 pixels wide, is of one class or has specks in it
    answer = ask({"like": [{"image": str(image.pk), "box": [0, 0, 0.25, 0.25]}]}, world["ada"])
    shares = boxes.covered(classes, (0, 0, 0.25, 0.25))
    vector = boxes.box_vector(shares, vectors)
    found = segments([world["own"], world["public"]])
    for hit in answer.hits:
        assert abs(hit.score - best(found, str(hit.image.pk), vector)[0]) < 2e-3


def test_pictures_and_regions_go_together(world):
    image = Image.objects.filter(collection=world["own"]).first()
    part = Region.objects.filter(collection=world["public"]).first()
    payload = {"like": [{"image": str(image.pk)}, {"image": str(part.image_id), "region": 0}]}
    answer = ask(payload, world["ada"])
    rank = answer.plan["rank"]
    assert abs(sum(rank.values()) - 1) < 1e-9 and rank["region"] == 0.5
    for hit in answer.hits:
        assert abs(sum(rank[s] * hit.parts[s] for s in rank) - hit.score) < 1e-3


def test_a_painted_scene_counts_what_is_painted(world):
    cells = [[0, 0, "sky"], [0, 1, "sky"], [7, 3, "road"], [7, 4, "道路"]]
    answer = ask({"layout": {"cells": cells}, "limit": 200}, world["ada"])
    places = [(0, 0, 1), (0, 1, 1), (7, 3, 4), (7, 4, 4)]
    vector = painted(places, CLASSES)
    rows = Descriptor.objects.filter(collection__in=[world["own"], world["public"]])
    expected = {str(row.image_id): float(dense(row, "layout") @ vector) for row in rows}
    assert len(answer.hits) == len(expected)
    for hit in answer.hits:
        assert abs(hit.score - expected[str(hit.image.pk)]) < 2e-3
        # the mean over the painted cells of sqrt(share of the cell): layouts of whole cells
        stored = np.asarray(boxes.class_map(Mask.objects.get(image=hit.image)))
        cell = [stored[6 * r : 6 * r + 6, 6 * c : 6 * c + 6] == k for r, c, k in places]
        mean = np.mean([np.sqrt(m.mean()) if m.mean() >= 0.05 else 0 for m in cell])
        assert abs(hit.score - mean) < 0.03


def test_parts_of_others_pictures_cannot_be_used(world):
    region = Region.objects.filter(collection=world["hidden"]).first()
    for part in ({"region": 0}, {"box": [0, 0, 1, 1]}):
        with pytest.raises(NotFound):
            ask({"like": [{"image": str(region.image_id), **part}]}, world["ada"])


@pytest.mark.parametrize(
    ("example", "field", "said"),
    [
        ({"region": 500}, "like", "it has"),
        ({"region": 0.5}, "like[0].region", "whole"),
        ({"box": [0, 0, 0, 1]}, "like[0].box", "empty"),
        ({"box": [0, 0, 2, 1]}, "like[0].box", "0 to 1"),
        ({"box": [0, 0, 1]}, "like[0].box", "x0"),
        ({"box": [0, 0, 1, 1], "region": 0}, "like[0].box", "one"),
        ({"region": 0, "class": "rod"}, "like[0].class", "'road'"),
        ({"class": "road"}, "like[0].class", "region or box"),
    ],
)
def test_errors_of_parts_name_the_field(world, example, field, said):
    image = Image.objects.filter(collection=world["own"]).first()
    with pytest.raises(QueryInvalid) as caught:
        ask({"like": [{"image": str(image.pk), **example}]}, world["ada"])
    assert caught.value.field == field and said in caught.value.message


def test_a_rank_that_weighs_nothing_shown_is_refused(world):
    with pytest.raises(QueryInvalid) as caught:
        ask({"layout": {"cells": [[0, 0, "sky"]]}, "rank": {"context": 1}}, world["ada"])
    assert caught.value.field == "rank"


def test_rest_gives_regions_and_pages(world):
    client = Client(headers={"Authorization": f"Token {services.create_token(world['ada'], 't')}"})
    image = Image.objects.filter(collection=world["own"]).first()
    payload = {"like": [{"image": str(image.pk), "region": 0}], "limit": 5}
    first = client.post("/api/v1/searches", payload, content_type="application/json").json()
    (matched,) = first["results"][0]["regions"]
    assert set(matched) == {"example", "number", "class", "area", "box", "similarity"}
    payload["cursor"] = first["cursor"]
    second = client.post("/api/v1/searches", json.dumps(payload), content_type="application/json")
    assert second.status_code == 200
    shown = [{hit["id"] for hit in page["results"]} for page in (first, second.json())]
    assert len(shown[0] | shown[1]) == 10
