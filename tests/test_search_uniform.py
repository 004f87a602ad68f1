"""Pictures of one class everywhere: equal layouts, which would spoil the index of layouts."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from django.apps import apps
from django.db import connection

from retrieval import search, services
from retrieval.models import Descriptor, Release
from retrieval.search import sql
from segmentation.describe import layout_of, uniform_class_of
from tests.test_search import CLASSES, plant

TREE, SKY = 3, 0


def filled(index: int) -> np.ndarray:
    return np.full((64, 64), index, np.uint8)


def nearly(rng: np.random.Generator, index: int) -> np.ndarray:
    """One class but for a corner of something else."""
    mask = filled(index)
    top, left = rng.integers(0, 48, 2)
    mask[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = (index + 1) % CLASSES
    return mask


@pytest.mark.parametrize("index", [0, 7, CLASSES - 1])
def test_a_layout_of_one_class_is_known_by_its_non_zeros(index):
    mask = filled(index)
    assert uniform_class_of(*layout_of(mask, CLASSES), CLASSES) == index
    mask[:2] = (index + 1) % CLASSES  # a quarter of eight cells
    assert uniform_class_of(*layout_of(mask, CLASSES), CLASSES) is None


def test_what_the_grid_drops_shows_in_the_values():
    mask = filled(TREE)
    mask[0, 0] = SKY  # under 5 % of its cell, so no entry of its own
    indices, values = layout_of(mask, CLASSES)
    assert len(indices) == 64 and uniform_class_of(indices, values, CLASSES) is None


@pytest.fixture
def forest(people, settings):
    """Thousands of pictures of trees alone, some with something else in them, and some others."""
    collection = services.create_collection(people["ada"], "forest")
    rng = np.random.default_rng(5)
    masks = [filled(TREE)] * 2500 + [filled(SKY)] * 40 + [nearly(rng, TREE) for _ in range(300)]
    masks = [masks[i] for i in rng.permutation(len(masks))]
    plant(collection, len(masks), 1, masks)
    plant(collection, 200, 2)
    release = Release.objects.get(state="active")
    settings.EXACT_ROWS = 100
    sql.build_indexes(release)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE retrieval_descriptor")
    yield {**people, "collection": collection, "release": release}
    with connection.cursor() as cursor:
        for name in sql.index_names(release):
            cursor.execute(f"DROP INDEX {name}")


def ask(world, payload):
    return search.run(search.parse(payload, release=world["release"]), world["ada"])


def recall(world, payload) -> float:
    """Of the ten best, as scores: equal ones are equally right."""
    fast, exact = (ask(world, {**payload, "limit": 10, "exact": e}) for e in (False, True))
    assert (fast.plan["kind"], exact.plan["kind"]) == ("index", "exact")
    last = exact.hits[-1].score
    return sum(hit.score >= last - 1e-6 for hit in fast.hits) / 10


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("space", ["layout", "composition"])
def test_what_is_nearly_one_class_is_found_among_thousands_that_are(forest, space):
    rows = Descriptor.objects.filter(collection=forest["collection"], uniform_class=None)
    found = []
    for row in rows.order_by("id")[:60]:
        payload = {"like": [{"image": str(row.image_id)}], "rank": {space: 1}}
        found.append(recall(forest, payload))
    assert np.mean(found) > 0.98


@pytest.mark.django_db(transaction=True)
def test_those_of_one_class_are_found_too_newest_first_and_page_by_page(forest):
    name = forest["release"].classes.get(index=TREE).name
    cells = [[row, column, name] for row in range(8) for column in range(8)]
    payload = {"layout": {"cells": cells}, "limit": 40}
    fast, exact = (ask(forest, {**payload, "exact": e}) for e in (False, True))
    assert fast.plan["kind"] == "index"
    assert [h.image.pk for h in fast.hits] == [h.image.pk for h in exact.hits]
    assert all(hit.score == 1 for hit in fast.hits)
    later = ask(forest, {**payload, "cursor": fast.cursor})
    assert not {h.image.pk for h in later.hits} & {h.image.pk for h in fast.hits}
    assert all(hit.score == 1 for hit in later.hits)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("space", ["layout", "composition"])
def test_a_sky_query_prefers_sky_pictures_to_trees(forest, space):
    row = Descriptor.objects.filter(uniform_class=SKY).first()
    payload = {"like": [{"image": str(row.image_id)}], "rank": {space: 1}, "limit": 39}
    found = [hit.image.pk for hit in ask(forest, payload).hits]
    own = Descriptor.objects.filter(image__in=found, uniform_class=SKY).count()
    assert own == 39


@pytest.mark.django_db(transaction=True)
def test_the_migration_marks_what_was_stored_before(forest):
    before = dict(Descriptor.objects.values_list("pk", "uniform_class"))
    assert 2500 < sum(value is not None for value in before.values()) < len(before)
    Descriptor.objects.update(uniform_class=None)
    migration = import_module("retrieval.migrations.0033_uniform_layouts")
    with connection.schema_editor() as editor:
        migration.mark(apps, editor)
    assert dict(Descriptor.objects.values_list("pk", "uniform_class")) == before
    assert search.indexes.indexed_spaces(forest["release"]) == {"context", "region"}
