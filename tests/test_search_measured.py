"""What is measured of collections: percentiles, charts, saved searches, duplicates, the map."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from retrieval import search, services
from retrieval.errors import FieldInvalid, Forbidden, NameTaken, NotFound, QueryInvalid
from retrieval.models import (
    Analysis,
    ClassArea,
    Descriptor,
    Image,
    MapPoint,
    Membership,
    NearDuplicate,
    Region,
    Statistic,
)
from retrieval.search import charts, duplicates, explore, percentiles, saved
from tests.search_world import ask, dense, plant, world_fixture  # noqa: F401
from workers.projection import MARGIN, draw_map, project
from workers.statistics import refresh

pytestmark = pytest.mark.django_db


def parsed(payload, world):
    return search.parse(payload, release=world["release"])


def client_of(user):
    return Client(headers={"Authorization": f"Token {services.create_token(user, 't')}"})


# --- percentiles -------------------------------------------------------------------------------


def test_percentiles_place_scores_among_the_collections_pairs(world):
    percentiles.measure_pairs(world["own"], world["release"])
    percentiles.measure_regions(world["own"], world["release"])
    rows = list(Descriptor.objects.filter(collection=world["own"]).order_by("image_id"))
    first, second = np.triu_indices(len(rows), 1)
    pairs = {}
    for space in ("context", "layout", "composition"):
        matrix = np.stack([dense(row, space) for row in rows])
        pairs[space] = (matrix @ matrix.T)[first, second]
    payload = {"like": [{"image": str(rows[0].image_id)}], "limit": 200}
    payload["where"] = {"collections": [world["own"].pk]}
    answer = ask(payload, world["ada"])
    total = sum(weight * pairs[space] for space, weight in answer.plan["rank"].items())
    for hit in answer.hits:
        for space, value in hit.parts.items():
            expected = 100 * (pairs[space] < value - 5e-4).mean()
            assert abs(hit.percentiles[space] - expected) < 1.0
        assert abs(hit.percentiles["score"] - 100 * (total < hit.score - 5e-4).mean()) < 1.0
    euclidean = ask({**payload, "metric": "euclidean"}, world["ada"])
    for one, other in zip(answer.hits, euclidean.hits, strict=False):
        if one.image == other.image:
            assert abs(one.percentiles["context"] - other.percentiles["context"]) < 1.0


def test_regions_are_placed_among_best_matches(world):
    percentiles.measure_regions(None, world["release"])
    region = Region.objects.filter(collection=world["own"], class_index__isnull=False).first()
    answer = ask({"like": [{"image": str(region.image_id), "region": region.number}]}, world["ada"])
    places = [hit.percentiles["region"] for hit in answer.hits]
    assert places == sorted(places, reverse=True) and 0 <= places[-1] < places[0] <= 100
    assert "score" not in answer.hits[0].percentiles
    painted = ask({"layout": {"cells": [[0, 0, "sky"]]}}, world["ada"])
    assert painted.hits[0].percentiles == {}


def test_what_was_measured_is_measured_anew_when_a_tenth_is_new(world):
    done = refresh()
    own = world["own"].pk
    assert {f"{own}:{n}" for n in ("pairs", "regions", "charts", "map")} <= set(done)
    assert refresh() == []
    before = Statistic.objects.get(collection=own, name="pairs").measured_at
    plant(world["own"], 4, 50)
    again = refresh()
    assert f"{own}:pairs" in again and f"{world['hidden'].pk}:pairs" not in again
    found = Statistic.objects.get(collection=own, name="pairs")
    assert found.measured_at > before and found.images == 34


# --- counts and charts -------------------------------------------------------------------------


def areas(collections):
    """{image: {class index: share}}, straight from the table."""
    found = {
        pk: {}
        for pk in Image.objects.filter(collection__in=collections).values_list("pk", flat=True)
    }
    for row in ClassArea.objects.filter(collection__in=collections):
        found[row.image_id][row.class_index] = row.fraction
    return found


def test_counts_and_histograms_are_exact(world):
    held = areas([world["own"], world["public"]])
    query = parsed({"classes": [{"name": "sky", "min": 0.1}, {"name": "car", "max": 0.05}]}, world)
    expected = sum(a.get(1, 0) >= 0.1 and a.get(6, 0) <= 0.05 for a in held.values())
    assert charts.count(query, world["ada"], world["release"]) == expected
    found = charts.histograms(query, world["ada"], world["release"])
    assert found["images"] == len(held) and len(found["classes"]) == 20
    for index, row in enumerate(found["classes"]):
        shares = [a[index] for a in held.values() if index in a]
        bins = np.minimum(19, np.floor(np.float64(shares) * 20).astype(int))
        assert row["counts"] == np.bincount(bins, minlength=20).tolist()
        assert row["without"] == len(held) - len(shares)
    wide = parsed({"where": {"orientation": "landscape"}}, world)
    some = charts.histograms(wide, world["ada"], world["release"])
    number = Image.objects.filter(collection__in=[world["own"], world["public"]], width_px__gt=500)
    assert some["images"] == number.count() < len(held)
    assert all(sum(r["counts"]) + r["without"] == some["images"] for r in some["classes"])


def test_charts_count_what_occurs_together(world, settings):
    held = areas([world["own"]])
    found = charts.charts([world["own"].pk], world["release"])
    for i in range(0, 20, 3):
        for j in range(0, 20, 4):
            both = sum(a.get(i, 0) >= 0.01 and a.get(j, 0) >= 0.01 for a in held.values())
            assert found["together"][i][j] == both
        mean = np.mean([a.get(i, 0) for a in held.values()])
        assert abs(found["classes"][i]["mean_area"] - mean) < 1e-5
    charts.keep(world["own"], world["release"])
    settings.EXACT_ROWS = 10
    ClassArea.objects.filter(collection=world["own"]).delete()
    assert charts.charts([world["own"].pk], world["release"]) == found  # large ones are kept


def test_rest_gives_counts_histograms_charts_and_layouts(world):
    client = client_of(world["ada"])
    query = {"classes": [{"name": "sky", "min": 0.1}]}
    body = {"query": query}
    counted = client.post("/api/v1/searches/count", body, content_type="application/json").json()
    assert counted["count"] == charts.count(parsed(query, world), world["ada"], world["release"])
    shown = client.get("/api/v1/searches/histograms").json()
    assert shown["images"] == 60 and shown["classes"][1]["name"] == "sky"
    whole = client.get(f"/api/v1/charts?collection={world['own'].pk}").json()
    assert whole["images"] == 30 and len(whole["together"]) == 20
    assert client.get(f"/api/v1/charts?collection={world['hidden'].pk}").status_code == 404
    image = Image.objects.filter(collection=world["own"]).first()
    layout = client.get(f"/api/v1/searches/layout?image={image.pk}").json()
    assert len(layout["cells"]) == 64
    again = ask({"layout": layout, "limit": 1}, world["ada"])
    assert again.hits[0].image == image  # its own layout finds it first
    wrong = client.get("/api/v1/searches/histograms", {"query": '{"classes": [{"name": "sk"}]}'})
    assert wrong.status_code == 400 and wrong.json()["error"]["field"] == "classes[0].name"


# --- saved searches ----------------------------------------------------------------------------

SKY = {"classes": [{"name": "sky", "min": 0.01}]}


def test_saved_searches_are_shared_within_a_collection_and_run_with_own_rights(world):
    ada, ben, release = world["ada"], world["ben"], world["release"]
    mine = saved.save(ada, "Skies", SKY, release, world["own"], shared=True)
    assert list(saved.searches_for(ben)) == []
    with pytest.raises(NotFound):
        saved.search_for(ben, mine.pk)
    Membership.objects.create(collection=world["own"], user=ben, role="viewer")
    assert saved.search_for(ben, mine.pk) == mine
    seen, _ = saved.look(ben, mine, release, limit=200)
    assert {hit.image.collection_id for hit in seen.hits} >= {world["hidden"].pk}
    own, _ = saved.look(ada, mine, release, limit=200)
    assert world["hidden"].pk not in {hit.image.collection_id for hit in own.hits}
    with pytest.raises(Forbidden):
        saved.change(ben, mine, release, name="Ben's")
    saved.change(ada, mine, release, shared=False)
    assert list(saved.searches_for(ben)) == []
    with pytest.raises(NameTaken):
        saved.save(ada, "Skies", SKY, release)
    with pytest.raises(QueryInvalid):
        saved.save(ada, "Wrong", {"classes": [{"name": "skyy"}]}, release)
    with pytest.raises(FieldInvalid):
        saved.save(ada, "Nowhere", SKY, release, None, shared=True)


@pytest.mark.parametrize("ranked", [False, True])
def test_new_is_what_was_parsed_since_one_last_looked(world, ranked):
    ada, release = world["ada"], world["release"]
    image = Image.objects.filter(collection=world["own"]).first()
    query = {"like": [{"image": str(image.pk)}]} if ranked else {"classes": [{"name": "sky"}]}
    kept = saved.save(ada, "Kept", query, release)
    assert saved.new_since(ada, kept, release) == 0  # never looked
    saved.look(ada, kept, release)
    assert saved.new_since(ada, kept, release) == 0
    plant(world["own"], 3, 60)
    plant(world["hidden"], 3, 61)
    assert saved.new_since(ada, kept, release) == 3
    _, new = saved.look(ada, kept, release)
    assert new == 3 and saved.new_since(ada, kept, release) == 0


def test_rest_of_saved_searches(world):
    client = client_of(world["ada"])
    body = {"name": "Skies", "query": SKY, "collection": world["own"].pk, "shared": True}
    made = client.post("/api/v1/searches/saved", body, content_type="application/json")
    assert made.status_code == 201 and made.json()["own"] and made.json()["looked_at"] is None
    url = f"/api/v1/searches/saved/{made.json()['id']}"
    answer = client.post(f"{url}/answer", {"limit": 3}, content_type="application/json").json()
    assert len(answer["results"]) == 3 and answer["cursor"] and answer["new"] == 0
    change = client.patch(url, {"name": "Heaven"}, content_type="application/json")
    assert change.json()["name"] == "Heaven" and change.json()["looked_at"]
    assert [s["name"] for s in client.get("/api/v1/searches/saved").json()["results"]] == ["Heaven"]
    assert client_of(world["ben"]).get(url).status_code == 404
    assert client.delete(url).status_code == 204 and client.get(url).status_code == 404


# --- near-duplicates ---------------------------------------------------------------------------


def copy_of(image, noise, seed=0):
    """A picture that looks nearly as another: its vectors, slightly turned."""
    rng = np.random.default_rng(seed)
    row = Descriptor.objects.get(image=image)
    context = dense(row, "context")
    image.pk, image.sha256 = None, f"{seed:064x}"
    image.id = type(image)._meta.pk.get_default()
    image.save(force_insert=True)
    row.pk, row.image = None, image
    turned = context + noise * rng.normal(size=256) / 16
    row.context = (turned / np.linalg.norm(turned)).tolist()
    row.save(force_insert=True)
    return image


def test_near_duplicates_are_found_and_stay_resolved(world):
    percentiles.measure_pairs(world["own"], world["release"])
    original = Image.objects.filter(collection=world["own"]).first()
    before = duplicates.find(world["own"], world["release"])
    first = original.pk
    copy = copy_of(original, 0.2)
    assert duplicates.find(world["own"], world["release"]) == before + 1
    pair = NearDuplicate.objects.get(second=copy)
    assert pair.first_id == first and pair.context > 0.95 and pair.layout > 0.99
    with pytest.raises(NotFound):
        duplicates.resolve(world["ben"], pair.pk, "different")
    duplicates.resolve(world["ada"], pair.pk, "different")
    assert duplicates.find(world["own"], world["release"]) == before  # not opened again
    pair.refresh_from_db()
    assert pair.state == "different" and pair.resolved_by == world["ada"]
    client = client_of(world["ada"])
    url = f"/api/v1/collections/{world['own'].pk}/duplicates"
    assert client.get(f"{url}?state=different").json()["results"][0]["id"] == pair.pk
    opened = client.patch(
        f"/api/v1/duplicates/{pair.pk}", {"state": "open"}, content_type="application/json"
    )
    assert opened.json()["state"] == "open" and client.get(url).json()["count"] == before + 1
    wrong = client.patch(
        f"/api/v1/duplicates/{pair.pk}", {"state": "same"}, content_type="application/json"
    )
    assert wrong.status_code == 400 and wrong.json()["error"]["field"] == "state"


def test_open_pairs_that_are_near_no_longer_go(world):
    percentiles.measure_pairs(world["own"], world["release"])
    copy = copy_of(Image.objects.filter(collection=world["own"]).first(), 0.2)
    duplicates.find(world["own"], world["release"])
    row = Descriptor.objects.get(image=copy)
    row.context = np.eye(256)[0].tolist()
    row.save()
    duplicates.find(world["own"], world["release"])
    assert not NearDuplicate.objects.filter(second=copy).exists()


def parsed_at(image, release, ended):
    """The image as one whose analysis ended at this moment."""
    Analysis.objects.create(
        image=image,
        release=release,
        collection=image.collection,
        state="done",
        started_at=ended,
        finished_at=ended,
    )


def test_large_collections_compare_what_was_parsed_since_whenever_it_was_uploaded(world, settings):
    settings.EXACT_ROWS = 10
    own, release, now = world["own"], world["release"], timezone.now()
    percentiles.measure_pairs(own, release)
    Analysis.objects.filter(collection=own).update(finished_at=now - timedelta(days=3))
    images = list(Image.objects.filter(collection=own).order_by("id")[:2])
    before = duplicates.find(own, release)  # nobody looked yet: all are compared
    charts.keep(own, release)
    late, old = copy_of(images[0], 0.2, 1), copy_of(images[1], 0.2, 2)
    # Uploaded long before the look, and parsed after it; and one that a look had seen already.
    Image.objects.filter(pk__in=[late.pk, old.pk]).update(created_at=now - timedelta(days=2))
    parsed_at(late, release, now + timedelta(minutes=1))
    parsed_at(old, release, now - timedelta(days=1))
    assert duplicates.find(own, release) == before + 1
    assert NearDuplicate.objects.filter(second=late).exists()
    Statistic.objects.filter(collection=own, name="duplicates").delete()
    assert duplicates.find(own, release) == before + 2
    assert NearDuplicate.objects.filter(second=old).exists()


def test_large_collections_drop_open_pairs_that_are_near_no_longer(world, settings):
    settings.EXACT_ROWS = 10
    own, release = world["own"], world["release"]
    percentiles.measure_pairs(own, release)
    images = list(Image.objects.filter(collection=own).order_by("id")[:3])
    copies = [copy_of(image, 0.2, seed) for seed, image in enumerate(images)]
    before = duplicates.find(own, release)
    resolved = NearDuplicate.objects.get(second=copies[2])
    duplicates.resolve(world["ada"], resolved.pk, "duplicate")
    Descriptor.objects.filter(image__in=copies[1:]).update(context=np.eye(256)[0].tolist())
    Statistic.objects.filter(collection=own, name="pairs").delete()  # the first is rare in any case
    assert duplicates.find(own, release) == before - 2
    assert set(
        NearDuplicate.objects.filter(second__in=copies).values_list("second_id", "state")
    ) == {(copies[0].pk, "open"), (copies[2].pk, "duplicate")}


# --- the map -----------------------------------------------------------------------------------


def test_a_projection_keeps_neighbours_together():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 32))
    labels = np.repeat(np.arange(4), 40)
    vectors = centres[labels] + 0.3 * rng.normal(size=(160, 32))
    points = project(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert points.shape == (160, 2) and points.min() >= 0 and points.max() <= 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argsort(1)[:, :5]] == labels[:, None]).mean() > 0.95


def test_a_projection_fills_the_map():
    rng = np.random.default_rng(2)
    oblong = rng.normal(size=(40, 8)) * [9, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    points = project(oblong)
    assert np.allclose(points.min(0), MARGIN) and np.allclose(points.max(0), 1 - MARGIN)
    assert np.allclose(project(np.ones((3, 8))), 0.5)  # all alike: in the middle


def test_the_map_shows_every_picture_once_however_it_is_zoomed(world):
    draw_map(world["own"], world["release"])
    assert MapPoint.objects.filter(collection=world["own"]).count() == 30
    cells = explore.window(world["own"], world["release"], (0, 0, 1, 1), 4)
    assert sum(cell.images for cell in cells) == 30 and len(cells) <= 16
    halves = [(0, 0, 0.5, 1), (0.5 + 1e-9, 0, 1, 1)]
    parts = [explore.window(world["own"], world["release"], box, 4) for box in halves]
    assert sum(cell.images for part in parts for cell in part) == 30
    client = client_of(world["ada"])
    url = f"/api/v1/collections/{world['own'].pk}/map"
    whole = client.get(f"{url}?cells=2").json()
    assert sum(c["images"] for c in whole["cells"]) == whole["points"] == 30
    assert client.get(f"{url}?box=1,0,0,1").status_code == 400
    assert client.get(f"/api/v1/collections/{world['hidden'].pk}/map").status_code == 404
