"""Saved searches: dead ones do not hide the others, and who may share and unshare them."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from retrieval import services
from retrieval.errors import Forbidden
from retrieval.models import Collection, Image, Membership, SavedSearch
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


# --- sharing -----------------------------------------------------------------------------------


def test_sharing_takes_the_right_to_change_the_collection(world):
    ben, release, public = world["ben"], world["release"], world["public"]
    ada, own = world["ada"], world["own"]
    with pytest.raises(Forbidden):  # a public collection is seen by all and changed by few
        saved.save(ada, "Advert", SKY, release, public, shared=True)
    mine = saved.save(ada, "Advert", SKY, release, public)
    with pytest.raises(Forbidden):
        saved.change(ada, mine, release, shared=True)
    mine.refresh_from_db()
    shared = saved.save(ada, "Skies", SKY, release, own, shared=True)
    with pytest.raises(Forbidden):
        saved.change(ada, shared, release, collection=public)
    member = Membership.objects.create(collection=public, user=ada, role="editor")
    assert saved.change(ada, mine, release, shared=True).shared
    assert mine in saved.searches_for(ben)
    member.role = "viewer"
    member.save()
    with pytest.raises(Forbidden):
        saved.change(ada, mine, release, name="Another")
    assert not saved.change(ada, mine, release, shared=False).shared


def test_managers_end_the_sharing_of_others_and_change_nothing_else(world):
    ada, ben, own, release = world["ada"], world["ben"], world["own"], world["release"]
    Membership.objects.create(collection=own, user=ben, role="editor")
    theirs = saved.save(ben, "Ben's", SKY, release, own, shared=True)
    client, url = client_of(ada), f"{URL}/{theirs.pk}"
    row = client.get(url).json()
    assert row["removable"] and not row["own"]
    for body in ({"name": "x"}, {"shared": False, "name": "x"}, {"shared": True}):
        assert client.patch(url, body, content_type="application/json").status_code == 403
    ended = client.patch(url, {"shared": False}, content_type="application/json")
    assert ended.status_code == 200 and not ended.json()["shared"]
    assert client.get(url).status_code == 404 and theirs in saved.searches_for(ben)
    saved.change(ben, saved.search_for(ben, theirs.pk), release, shared=True)
    viewer = get_user_model().objects.create_user("viewer")
    Membership.objects.create(collection=own, user=viewer, role="viewer")
    (seen,) = client_of(viewer).get(URL).json()["results"]
    assert not seen["removable"]
    assert client.delete(url).status_code == 204


def test_what_is_shared_goes_with_its_authors_sight_of_the_collection(world):
    ada, ben, own, release = world["ada"], world["ben"], world["own"], world["release"]
    member = Membership.objects.create(collection=own, user=ben, role="editor")
    theirs = saved.save(ben, "Ben's", SKY, release, own, shared=True)
    assert theirs in saved.searches_for(ada)
    member.delete()
    assert theirs not in saved.searches_for(ada)
    assert theirs in saved.searches_for(ben)  # it is still Ben's own
    Collection.objects.filter(pk=own.pk).update(visibility="public")
    assert theirs in saved.searches_for(ada)
