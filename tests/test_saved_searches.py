"""Saved searches: dead ones do not hide the others, and who may share and unshare them."""

from __future__ import annotations

import pytest
from django.test import Client

from retrieval import services
from retrieval.models import Image, SavedSearch
from retrieval.search import saved
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db
URL = "/api/v1/searches/saved"
SKY = {"classes": [{"name": "sky", "min": 0.01}]}


def client_of(user):
    return Client(headers={"Authorization": f"Token {services.create_token(user, 't')}"})


def listed(client):
    return {row["name"]: row for row in client.get(f"{URL}?new=true").json()["results"]}


@pytest.fixture(name="three")
def three_fixture(world):
    """Ada's: one that works, one whose example is gone, one whose class is of no release."""
    ada, release = world["ada"], world["release"]
    example = Image.objects.filter(collection=world["own"]).first()
    kept = saved.save(ada, "Kept", SKY, release)
    dead = saved.save(ada, "Dead", {"like": [{"image": str(example.pk)}]}, release)
    old = saved.save(ada, "Old", SKY, release)
    for search in (kept, dead, old):
        saved.look(ada, search, release)
    SavedSearch.objects.filter(pk=old.pk).update(query={"classes": [{"name": "carport"}]})
    example.delete()
    return {"Kept": kept, "Dead": dead, "Old": old}


def test_a_dead_search_says_why_and_hides_no_other(world, three):
    rows = listed(client_of(world["ada"]))
    assert set(rows) == set(three)
    assert rows["Kept"]["new"] == 0 and rows["Kept"]["error"] is None
    assert rows["Dead"]["new"] is None and rows["Dead"]["error"]["code"] == "not_found"
    assert rows["Old"]["new"] is None and rows["Old"]["error"]["code"] == "query_invalid"
    assert "carport" in rows["Old"]["error"]["message"]
    plain = client_of(world["ada"]).get(URL).json()["results"]
    assert all("new" not in row and "error" not in row for row in plain)


@pytest.mark.usefixtures("three")
def test_the_reason_is_in_the_readers_language(world):
    answer = client_of(world["ada"]).get(f"{URL}?new=true", headers={"Accept-Language": "zh-hans"})
    (dead,) = (row for row in answer.json()["results"] if row["name"] == "Dead")
    assert "没有图片" in dead["error"]["message"]


@pytest.mark.parametrize("name", ["Dead", "Old"])
def test_a_dead_search_can_be_read_renamed_and_mended(world, three, name):
    client, url = client_of(world["ada"]), f"{URL}/{three[name].pk}"
    read = client.get(url)
    assert read.status_code == 200 and read.json()["new"] is None and read.json()["error"]
    renamed = client.patch(url, {"name": "Again"}, content_type="application/json")
    assert renamed.status_code == 200 and renamed.json()["error"]
    mended = client.patch(url, {"query": SKY}, content_type="application/json")
    assert mended.json()["new"] is not None and mended.json()["error"] is None
    wrong = client.patch(
        url, {"query": {"classes": [{"name": "skyy"}]}}, content_type="application/json"
    )
    assert wrong.status_code == 400


def test_a_dead_search_that_nobody_looked_at_says_so_too(world):
    example = Image.objects.filter(collection=world["hidden"]).first()
    SavedSearch.objects.create(
        owner=world["ada"], name="Blind", query={"like": [{"image": str(example.pk)}]}
    )
    assert listed(client_of(world["ada"]))["Blind"]["error"]["code"] == "not_found"
