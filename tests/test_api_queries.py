"""How many SQL queries each list and each record of the API takes, whatever the number of rows."""

from __future__ import annotations

import pytest
from django.test import Client

from retrieval.models import Image
from tests.search_world import world_fixture  # noqa: F401
from workers.api_benchmark import Crowd, ask, queries_of

pytestmark = pytest.mark.django_db

# Two of each go to the token: finding it and noting that it was used.
LISTS = {
    "images": 7,
    "images of a collection": 8,
    "images by title": 8,
    "images by tag": 8,
    "images by class, largest first": 9,
    "images by words in the title": 8,
    "images that failed": 8,
    "collections": 5,
    "members": 4,
    "near-duplicates": 7,
    "tokens": 3,
    "jobs": 3,
    "jobs that failed": 4,
    "saved searches": 4,
    "webhooks": 3,
    "deliveries": 4,
    "classes": 4,
}
RECORDS = {
    "": 7,
    "/analysis": 4,
    "/areas": 6,
    "/regions": 6,
    "/regions?vectors=true": 6,
    "/vectors": 5,
    "/mask.png": 4,
    "/mask/rle": 5,
    "/mask/polygons": 5,
    "/similar?limit=50": 15,
}


@pytest.fixture
def crowd(db: None) -> Crowd:
    return Crowd(120, 55)


def test_a_list_of_fifty_takes_no_more_queries_than_one_of_five(crowd: Crowd) -> None:
    client = crowd.client()
    assert set(crowd.lists()) == set(LISTS)
    taken = {}
    for name, path in crowd.lists().items():
        rows, queries = [], []
        for limit in (5, 50):
            page: dict[str, list[object]] = {}
            queries.append(queries_of(lambda p=path, n=limit, o=page: o.update(ask(client, p, n))))
            rows.append(len(page["results"]))
        assert rows in ([5, 50], [20, 20]) or name in _FEW, (name, rows)
        assert queries[0] == queries[1], (name, queries)
        taken[name] = queries[1]
    assert taken == LISTS


_FEW = ("images by class, largest first", "images that failed", "jobs that failed")


def test_every_record_of_a_picture_takes_few_queries(world) -> None:
    from retrieval.services import create_token

    image = Image.objects.filter(collection=world["own"]).first()
    client = Client(headers={"Authorization": f"Token {create_token(world['ada'], 'q')}"})
    taken = {}
    for path in RECORDS:
        url = f"/api/v1/images/{image.pk}{path}"
        taken[path] = queries_of(lambda url=url: client.get(url).content)
        assert client.get(url).status_code == 200, path
    assert taken == RECORDS
