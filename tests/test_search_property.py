"""For random queries, filters and users, SQL gives what a plain NumPy search over visible rows gives."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retrieval.models import ClassArea, Collection, Descriptor, Image, ImageTag, Mask, Region
from retrieval.search import boxes, charts, parse, sql
from retrieval.search.vectors import numbers
from retrieval.upload import add_tags
from tests.search_world import CLASSES, ask, dense, make_world

pytestmark = pytest.mark.django_db
SPACES = ("context", "layout", "composition")
NAMES = ["building", "sky", "vegetation", "grass", "road", "car", "water", "person"]
INDEX = {"building": 0, "sky": 1, "vegetation": 2, "grass": 3, "road": 4, "car": 6, "water": 7}
INDEX["person"] = 9
TOLERANCE = 2e-3  # half precision


class Oracle:
    """All rows in memory, and the search written anew without SQL."""

    def __init__(self, world):
        self.world = world
        self.images = {str(i.pk): i for i in Image.objects.select_related("collection")}
        self.vectors = {
            str(d.image_id): {s: dense(d, s) for s in SPACES} for d in Descriptor.objects.all()
        }
        self.regions = {pk: [] for pk in self.images}
        for row in Region.objects.order_by("number"):
            self.regions[str(row.image_id)].append(row)
        self.areas = {pk: {} for pk in self.images}
        for row in ClassArea.objects.all():
            self.areas[str(row.image_id)][row.class_index] = row.fraction
        self.tags = {pk: set() for pk in self.images}
        for row in ImageTag.objects.select_related("tag"):
            self.tags[str(row.image_id)].add(row.tag.name)
        self.maps = {str(m.image_id): boxes.class_map(m) for m in Mask.objects.all()}
        self.ids = sorted(self.images)

    def sees(self, user, collection):
        return user.is_superuser or collection.owner == user or collection.visibility == "public"

    def matches(self, payload, user, pk):
        image, areas, where = self.images[pk], self.areas[pk], payload.get("where", {})
        if not self.sees(user, image.collection):
            return False
        if where.get("collections") and image.collection_id not in where["collections"]:
            return False
        if where.get("orientation") == "landscape" and image.width_px <= image.height_px:
            return False
        tags = where.get("tags", {})
        if (
            not set(tags.get("all", [])) <= self.tags[pk]
            or set(tags.get("none", [])) & self.tags[pk]
        ):
            return False
        if pk in [e["image"] for e in (*payload.get("like", []), *payload.get("unlike", []))]:
            return False
        for asked in payload.get("classes", []):
            share = areas.get(INDEX[asked["name"]], 0.0)
            if not asked.get("min", 0) <= share <= asked.get("max", 1):
                return False
        wanted = [INDEX[e["class"]] for e in payload.get("like", []) if "class" in e]
        return all(any(r.class_index == w for r in self.regions[pk]) for w in wanted)

    def part(self, example):
        regions = self.regions[example["image"]]
        if "region" in example:
            return numbers(regions[example["region"]].vector)
        x0, y0, x1, y1 = example["box"]
        classes = self.maps[example["image"]]
        labels = boxes.segments_of(classes).numbers
        side = len(labels)
        inside = labels[int(y0 * side) : round(y1 * side), int(x0 * side) : round(x1 * side)]
        total = sum((inside == r.number).mean() * r.norm * numbers(r.vector) for r in regions)
        return total / np.linalg.norm(total)

    def best(self, example, vector, pk, metric):
        index = INDEX.get(example.get("class", ""))
        values = [
            float(numbers(r.vector) @ vector)
            for r in self.regions[pk]
            if r.class_index is not None and index in (None, r.class_index)
        ]
        cosine = max(values, default=-1.0)
        return 1 - np.sqrt(max(0.0, 2 - 2 * cosine)) / 2 if metric == "euclidean" else cosine

    def scores(self, payload, user, rank):
        """{image: score} of all that match, by the weights that the plan says."""
        metric = payload.get("metric", "cosine")
        groups = ((payload.get("like", []), 1.0), (payload.get("unlike", []), -0.25))
        targets, parts = {}, []
        for space in SPACES:
            total = np.zeros_like(self.vectors[self.ids[0]][space])
            for group, sign in groups:
                whole = [e for e in group if "region" not in e and "box" not in e]
                weights = sum(e.get("weight", 1.0) for e in whole) or 1.0
                for e in whole:
                    total = (
                        total
                        + sign * e.get("weight", 1.0) / weights * self.vectors[e["image"]][space]
                    )
            norm = np.linalg.norm(total)
            targets[space] = total / norm if norm > 1e-9 else None
        if cells := payload.get("layout", {}).get("cells"):
            scene = np.zeros(64 * CLASSES)
            places = {(r, c) for r, c, _ in cells}
            for r, c in places:
                here = {name for a, b, name in cells if (a, b) == (r, c)}
                for name in here:
                    scene[(r * 8 + c) * CLASSES + INDEX[name]] = 8 / len(places) / len(here) ** 0.5
            own = targets["layout"]
            targets["layout"] = scene if own is None else (scene + own) / 2
        for group, sign in groups:
            some = [e for e in group if "region" in e or "box" in e]
            weights = sum(e.get("weight", 1.0) for e in some) or 1.0
            parts += [(e, self.part(e), sign * e.get("weight", 1.0) / weights) for e in some]
        found = {}
        for pk in self.ids:
            if not self.matches(payload, user, pk):
                continue
            score = 0.0
            for space, weight in rank.items():
                if space == "region":
                    score += weight * sum(s * self.best(e, v, pk, metric) for e, v, s in parts)
                    continue
                value = float(targets[space] @ self.vectors[pk][space])
                if metric == "euclidean" and not cells:
                    value = 1 - np.sqrt(max(0.0, 2 - 2 * value)) / 2
                score += weight * value
            found[pk] = score
        return found


@pytest.fixture(scope="module")
def oracle(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        world = make_world(40)
        for position, image in enumerate(Image.objects.order_by("pk")):
            add_tags(image, [name for name, k in (("dawn", 2), ("fog", 3)) if position % k == 0])
        sql.build_indexes(world["release"])
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        yield Oracle(world)
        with connection.cursor() as cursor:
            for name in sql.index_names(world["release"]):
                cursor.execute(f"DROP INDEX {name}")
        call_command("flush", interactive=False, verbosity=0)


WEIGHT = st.floats(0.1, 3).map(lambda value: round(value, 2))
SHARE = st.floats(0, 0.3).map(lambda value: round(value, 3))
CORNER = st.integers(0, 4)


@st.composite
def example(draw, oracle, user, parts=True):
    seen = [pk for pk in oracle.ids if oracle.sees(user, oracle.images[pk].collection)]
    made = {"image": draw(st.sampled_from(seen)), "weight": draw(WEIGHT)}
    kind = draw(st.sampled_from(["whole", "whole", "region", "box"])) if parts else "whole"
    if kind == "region":
        made["region"] = draw(st.integers(0, len(oracle.regions[made["image"]]) - 1))
    elif kind == "box":
        x, y = draw(CORNER), draw(CORNER)
        made["box"] = [x / 8, y / 8, (x + draw(st.integers(2, 4))) / 8, (y + 3) / 8]
    if kind != "whole" and draw(st.booleans()):
        made["class"] = draw(st.sampled_from(NAMES))
    return made


@st.composite
def query(draw, oracle, user):
    made = {"limit": draw(st.integers(1, 30)), "exact": True}
    made["like"] = draw(st.lists(example(oracle, user), max_size=2))
    made["unlike"] = draw(st.lists(example(oracle, user), max_size=1))
    if draw(st.booleans()):
        cell = st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from(NAMES)).map(list)
        made["layout"] = {"cells": draw(st.lists(cell, min_size=1, max_size=6))}
    limits = st.tuples(st.sampled_from(NAMES), SHARE, st.sampled_from(["min", "max"]))
    made["classes"] = [{"name": n, side: v} for n, v, side in draw(st.lists(limits, max_size=2))]
    where = {}
    if draw(st.booleans()):
        pks = list(Collection.objects.order_by("pk").values_list("pk", flat=True))
        where["collections"] = draw(st.lists(st.sampled_from(pks), min_size=1, max_size=2))
    if draw(st.booleans()):
        where["orientation"] = "landscape"
    if draw(st.booleans()):
        where["tags"] = {
            draw(st.sampled_from(["all", "none"])): [draw(st.sampled_from(["dawn", "fog"]))]
        }
    made["where"] = where
    made["metric"] = draw(st.sampled_from(["cosine", "cosine", "euclidean"]))
    return made


@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(data=st.data())
def test_the_exact_answer_is_numpys(oracle, data):
    user = oracle.world[data.draw(st.sampled_from(["ada", "ben", "root"]))]
    payload = data.draw(query(oracle, user))
    answer = ask(payload, user)
    matching = [pk for pk in oracle.ids if oracle.matches(payload, user, pk)]
    parsed = parse(payload, release=oracle.world["release"])
    assert charts.count(parsed, user, oracle.world["release"]) == len(matching)
    assert answer.plan["matching"] == len(matching)
    assert len(answer.hits) == min(payload["limit"], len(matching))
    if not (payload["like"] or payload["unlike"] or "layout" in payload):
        assert {str(hit.image.pk) for hit in answer.hits} <= set(matching)
        return
    expected = oracle.scores(payload, user, answer.plan["rank"])
    best = sorted(expected.values(), reverse=True)[: len(answer.hits)]
    for hit, score in zip(answer.hits, best, strict=True):
        own = expected[str(hit.image.pk)]
        assert abs(own - hit.score) < TOLERANCE and abs(own - score) < 2 * TOLERANCE


def test_the_index_finds_nearly_all_of_it(oracle, settings):
    settings.EXACT_ROWS = 10
    root, rng = oracle.world["root"], np.random.default_rng(0)
    found = total = through = 0
    for number in range(40):
        image = str(rng.choice(oracle.ids))
        like = {"image": image, **({"region": 0} if number % 4 == 0 else {})}
        payload = {"like": [like], "limit": 10}
        if number % 4 == 1:
            payload = {
                "layout": {"cells": [[0, 0, "sky"], [7, 7, "road"], [4, 4, "car"]]},
                "limit": 10,
            }
        if number % 3 == 0:
            payload["classes"] = [{"name": "sky", "max": 0.2}]
        answer = ask(payload, root)
        through += answer.plan["kind"] == "index"
        expected = oracle.scores({**payload, "unlike": []}, root, answer.plan["rank"])
        tenth = sorted(expected.values(), reverse=True)[9]
        found += sum(expected[str(h.image.pk)] >= tenth - TOLERANCE for h in answer.hits)
        total += 10
    assert through >= 30 and found / total >= 0.97
