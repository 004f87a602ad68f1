"""Pages of answers, exact and through indexes: together they are the whole answer, each hit once."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from retrieval import services
from retrieval.errors import QueryInvalid
from retrieval.models import Image, Region, ResultPool
from retrieval.search import paging, recall, sql
from retrieval.upload import add_tags
from tests.search_world import ask, ids, make_world, plant

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def built(django_db_setup, django_db_blocker):
    """A world of 300 pictures of Ada's with its indexes built."""
    with django_db_blocker.unblock():
        world = make_world(5)
        collection = services.create_collection(world["ada"], "many")
        plant(collection, 300, 7)
        sql.build_indexes(world["release"])
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE retrieval_descriptor")
            cursor.execute("ANALYZE retrieval_region")
        yield {**world, "own": collection}
        with connection.cursor() as cursor:
            for name in sql.index_names(world["release"]):
                cursor.execute(f"DROP INDEX {name}")
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def indexed(built, settings):
    """A planner that goes through the indexes."""
    settings.EXACT_ROWS = 50
    return built


def pages(payload, user, limit):
    """All hits, page after page."""
    found, cursor, count = [], None, 0
    while True:
        answer = ask({**payload, "limit": limit, "cursor": cursor}, user)
        found += ids(answer)
        count += 1
        cursor = answer.cursor
        if cursor is None:
            return found, count


@pytest.mark.parametrize("kind", ["like", "region", "painted", "classes", "nothing"])
def test_pages_are_the_whole_answer_in_its_order(built, kind):
    image = Image.objects.filter(collection=built["own"]).first()
    payload = {
        "like": {"like": [{"image": str(image.pk)}]},
        "region": {"like": [{"image": str(image.pk), "region": 0}]},
        "painted": {"layout": {"cells": [[0, 0, "sky"]]}},  # nearly all hits are ties
        "classes": {"classes": [{"name": "sky", "min": 0}]},
        "nothing": {},
    }[kind]
    whole = ids(ask({**payload, "limit": 200}, built["ada"]))
    found, count = pages(payload, built["ada"], 37)
    assert found[:200] == whole and len(set(found)) == len(found) in (309, 310)
    assert count == -(-len(found) // 37)


def test_new_pictures_between_pages_change_nothing_that_was_shown(built):
    payload = {"classes": [{"name": "sky", "max": 1}], "limit": 10}
    first = ask(payload, built["ada"])
    plant(built["own"], 5, 99)
    second = ask({**payload, "cursor": first.cursor}, built["ada"])
    assert not set(ids(first)) & set(ids(second)) and len(second.hits) == 10


def test_a_cursor_of_another_query_or_none_at_all_is_refused(built):
    image = Image.objects.filter(collection=built["own"]).first()
    cursor = ask({"like": [{"image": str(image.pk)}], "limit": 5}, built["ada"]).cursor
    for payload in ({"cursor": cursor}, {"cursor": "nonsense"}, {"cursor": "é"}, {"cursor": 3}):
        with pytest.raises(QueryInvalid) as caught:
            ask(payload, built["ada"])
        assert caught.value.field == "cursor"


def test_pages_through_the_index_neither_repeat_nor_skip(indexed, monkeypatch):
    monkeypatch.setattr("retrieval.search.planner.CANDIDATES", 40)
    image = Image.objects.filter(collection=indexed["own"]).first()
    for example in ({"image": str(image.pk)}, {"image": str(image.pk), "region": 0}):
        payload = {"like": [example]}
        first = ask({**payload, "limit": 9}, indexed["ada"])
        assert first.plan["kind"] == "index" and first.plan["compared"] < 250
        found, count = pages(payload, indexed["ada"], 29)
        assert count == 11 and len(found) == len(set(found)) == 309
    assert ResultPool.objects.count() > 0


def test_a_pool_is_its_owners_and_ends_after_an_hour(indexed):
    image = Image.objects.filter(collection=indexed["own"]).first()
    payload = {"like": [{"image": str(image.pk)}], "limit": 9}
    cursor = ask(payload, indexed["ada"]).cursor
    with pytest.raises(QueryInvalid, match="over"):
        ask({**payload, "cursor": cursor}, indexed["root"])
    ResultPool.objects.update(created_at="2020-01-01T00:00Z")
    with pytest.raises(QueryInvalid, match="over"):
        ask({**payload, "cursor": cursor}, indexed["ada"])
    assert paging.drop_old_pools() == 1


def test_regions_through_the_index_are_the_exact_ones(indexed):
    same = total = 0
    mine = Region.objects.filter(class_index__isnull=False, collection=indexed["own"])
    for region in mine.order_by("id")[:300:30]:
        example = {"image": str(region.image_id), "region": region.number}
        payload = {"like": [example], "limit": 10}
        fast = ask(payload, indexed["ada"])
        exact = ask({**payload, "exact": True}, indexed["ada"])
        assert fast.plan["kind"] == "index" and exact.plan["kind"] == "exact"
        worst = exact.hits[-1].score - 1e-4
        same += sum(hit.score >= worst for hit in fast.hits)
        total += 10
    assert same / total > 0.95


# --- the plan's numbers ------------------------------------------------------------------------


def numbers_of(answer):
    return tuple(
        answer.plan[k] for k in ("kind", "matching", "matching_is_lower_bound", "compared")
    )


def test_an_exact_scan_tells_how_many_it_compared(indexed):
    image = Image.objects.filter(collection=indexed["own"]).first()
    like = {"like": [{"image": str(image.pk)}], "exact": True, "limit": 10}
    first = ask(like, indexed["ada"])
    assert numbers_of(first) == ("exact", 309, False, 309)
    second = ask({**like, "cursor": first.cursor}, indexed["ada"])
    assert numbers_of(second) == ("exact", 309, False, 309)
    classes = ask({"classes": [{"name": "sky", "min": 0.001}], "limit": 3}, indexed["ada"])
    sky = len(pages({"classes": [{"name": "sky", "min": 0.001}]}, indexed["ada"], 50)[0])
    assert sky > 50 and numbers_of(classes) == ("sql", sky, False, sky)
    assert numbers_of(ask({"limit": 3}, indexed["ada"])) == ("sql", 51, True, 0)


def test_where_the_estimate_was_wrong_the_plan_tells_what_was_counted(indexed, monkeypatch):
    add_tags(Image.objects.filter(collection=indexed["own"]).first(), ["rare"])
    image = Image.objects.filter(collection=indexed["own"]).last()
    payload = {"like": [{"image": str(image.pk)}], "where": {"tags": {"all": ["rare"]}}}
    monkeypatch.setattr(sql, "estimate", lambda where: 10**6)
    answer = ask(payload, indexed["ada"])
    assert numbers_of(answer) == ("exact", 1, False, 1) and len(answer.hits) == 1
    nothing = ask({**payload, "where": {"tags": {"all": ["never"]}}}, indexed["ada"])
    assert numbers_of(nothing) == ("exact", 0, False, 0) and nothing.hits == []


def test_pages_of_a_pool_tell_what_they_compared(indexed, monkeypatch):
    monkeypatch.setattr("retrieval.search.planner.CANDIDATES", 40)
    image = Image.objects.filter(collection=indexed["own"]).first()
    payload = {"like": [{"image": str(image.pk)}], "rank": {"context": 1}, "limit": 10}
    answer, told = ask(payload, indexed["ada"]), []
    assert numbers_of(answer) == ("index", 51, True, 40)
    while answer.cursor:
        answer = ask({**payload, "cursor": answer.cursor}, indexed["ada"])
        told.append(numbers_of(answer))
    # Within the pool, across its end, and behind it.
    assert told[0] == ("index", 51, True, 40)
    assert ("index", 309, False, 309) in told and told[-1] == ("index", 309, False, 269)


# --- recall, told for the kind of query that was asked --------------------------------------------


def test_recall_is_of_the_kind_of_query_or_of_none(indexed):
    kinds = {"context", "layout", "composition", "default", "painted", "region"}
    kept = recall.measure(None, indexed["release"])
    assert set(kept.values) == kinds
    assert all(0.5 <= row["recall_at_10"] <= 1 for row in kept.values.values())
    # Each kind with a figure of its own, to see whose is told.
    for place, kind in enumerate(sorted(kinds)):
        kept.values[kind]["recall_at_10"] = place / 10
    kept.save()
    images = [str(i.pk) for i in Image.objects.filter(collection=indexed["own"])[:2]]
    whole, part = {"image": images[0]}, {"image": images[1], "region": 0}
    scene = {"cells": [[0, 0, "sky"], [7, 7, "road"]]}
    asked = [
        ("context", {"like": [whole], "rank": {"context": 1}}),
        ("layout", {"like": [whole], "rank": {"layout": 2}}),
        ("composition", {"unlike": [whole], "rank": {"composition": 1}}),
        ("default", {"like": [whole], "unlike": [{"image": images[1]}]}),
        ("painted", {"layout": scene}),
        ("region", {"like": [part]}),
        (None, {"like": [whole], "rank": {"context": 1, "composition": 1}}),
        (None, {"like": [whole, part]}),
        (None, {"like": [whole], "layout": scene}),
        (None, {"like": [whole], "layout": scene, "rank": {"layout": 1}}),
        (None, {"like": [part], "layout": scene}),
    ]
    for kind, payload in asked:
        plan = ask({**payload, "limit": 5}, indexed["ada"]).plan
        assert plan["kind"] == "index", payload
        if kind is None:
            assert plan["recall"] is None, payload
        else:
            assert plan["recall"]["of"] == kind
            assert plan["recall"]["at_10"] == kept.values[kind]["recall_at_10"]


def test_recall_is_measured_anew_when_a_kind_is_lacking(indexed):
    release = indexed["release"]
    assert not recall.lacks(None, release)  # never measured: due by itself
    kept = recall.measure(None, release)
    assert not recall.lacks(None, release)
    del kept.values["painted"]
    kept.save()
    assert recall.lacks(None, release)
    Region.objects.update(class_index=None)
    assert recall.measure(None, release).values["region"] is None
    assert not recall.lacks(None, release)
