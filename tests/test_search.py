"""The answer of SQL equals a plain NumPy search over the rows a user may see; pgvector's traps."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pgvector import HalfVector, SparseVector

from retrieval import search, services
from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Analysis, ClassArea, Descriptor, Image, Release
from retrieval.search import sql
from retrieval.upload import add_tags
from segmentation.describe import composition_of, layout_of, uniform_class_of, unit

pytestmark = pytest.mark.django_db(transaction=True)
CLASSES = 20


def plant(collection, count: int, seed: int, masks=None) -> None:
    """Rows as a worker would leave them, of clustered random vectors and random or given masks."""
    rng = np.random.default_rng(seed)
    release = Release.objects.get(state="active")
    centres = rng.normal(size=(12, 256))
    images, analyses, descriptors, areas = [], [], [], []
    for number in range(count):
        digest = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        width = int(rng.integers(100, 900))
        image = Image(
            collection=collection,
            sha256=digest,
            size_bytes=1,
            width_px=width,
            height_px=500,
            format="JPEG",
            title=str(number),
            original="none",
        )
        mask = np.repeat(np.repeat(rng.integers(0, CLASSES, (4, 4)), 4, 0), 4, 1).astype(np.uint8)
        if masks is not None:
            mask = masks[number]
        shares = np.bincount(mask.ravel(), minlength=CLASSES) / mask.size
        indices, values = layout_of(mask, CLASSES)
        context, _ = unit((centres[number % 12] + 0.6 * rng.normal(size=256)).astype(np.float32))
        keys = {"image": image, "release": release, "collection": collection}
        images.append(image)
        analyses.append(Analysis(**keys, state="done"))
        layout = SparseVector(
            dict(zip(indices.tolist(), values.tolist(), strict=True)), 64 * CLASSES
        )
        descriptors.append(
            Descriptor(
                **keys,
                context=HalfVector(context.tolist()),
                context_norm=1.0,
                layout=layout,
                composition=HalfVector(composition_of(shares.astype(np.float32)).tolist()),
                uniform_class=uniform_class_of(indices, values, CLASSES),
            )
        )
        areas += [
            ClassArea(**keys, class_index=int(i), fraction=float(shares[i]))
            for i in np.flatnonzero(shares)
        ]
    Image.objects.bulk_create(images)
    Analysis.objects.bulk_create(analyses)
    Descriptor.objects.bulk_create(descriptors)
    ClassArea.objects.bulk_create(areas)


@pytest.fixture
def world(people):
    """Ada's private collection, Ben's private one, and a public one of Ben's."""
    own = services.create_collection(people["ada"], "own")
    hidden = services.create_collection(people["ben"], "hidden")
    public = services.create_collection(people["ben"], "public", "public")
    for seed, collection in enumerate((own, hidden, public)):
        plant(collection, 60, seed)
    return {**people, "own": own, "hidden": hidden, "public": public}


def ask(payload, user):
    return search.run(search.parse(payload, release=Release.objects.get(state="active")), user)


def dense(row: Descriptor, space: str) -> np.ndarray:
    value = getattr(row, space)
    return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, np.float64)


def by_numpy(rows, query: Descriptor, rank) -> list[str]:
    total = sum(rank.values())
    scores = {
        str(row.image_id): sum(
            weight / total * float(dense(row, s) @ dense(query, s)) for s, weight in rank.items()
        )
        for row in rows
    }
    return scores


WEIGHTS = st.floats(0, 1).map(lambda value: round(value, 2))


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pick=st.integers(0, 59),
    context=WEIGHTS,
    layout=WEIGHTS,
    low=st.sampled_from([0, 0.0625, 0.125]),
    name=st.sampled_from(["sky", "road", "car"]),
    limit=st.integers(1, 130),
)
def test_sql_equals_numpy(world, pick, context, layout, low, name, limit):
    rank = {"context": context, "layout": layout, "composition": 0.3}
    query = Descriptor.objects.filter(collection=world["own"]).order_by("id")[pick]
    answer = ask(
        {
            "like": [{"image": str(query.image_id)}],
            "rank": rank,
            "limit": limit,
            "classes": [{"name": name, "min": low}],
        },
        world["ada"],
    )
    index = search.grammar.classes_of(Release.objects.get(state="active"))
    class_index = next(c.index for c in index if c.name == name)
    visible = Descriptor.objects.filter(collection__in=[world["own"], world["public"]])
    if low:
        wanted = ClassArea.objects.filter(class_index=class_index, fraction__gte=low).values(
            "image"
        )
        visible = visible.filter(image__in=wanted)
    expected = by_numpy(visible.exclude(image=query.image_id), query, rank)
    assert len(answer.hits) == min(limit, len(expected)) and answer.plan["matching"] == len(
        expected
    )
    best = sorted(expected.values(), reverse=True)[: len(answer.hits)]
    for hit, score in zip(answer.hits, best, strict=True):
        assert abs(hit.score - score) < 2e-3 and abs(expected[str(hit.image.pk)] - hit.score) < 2e-3
        shares = {s: w / sum(rank.values()) for s, w in rank.items()}
        assert abs(sum(shares[s] * part for s, part in hit.parts.items()) - hit.score) < 1e-3


def test_others_things_are_neither_found_nor_named(world):
    hidden = Image.objects.filter(collection=world["hidden"]).first()
    with pytest.raises(NotFound):
        ask({"like": [{"image": str(hidden.pk)}]}, world["ada"])
    answer = ask({"classes": [{"name": "sky", "max": 1}], "limit": 200}, world["ada"])
    assert {hit.image.collection_id for hit in answer.hits} == {world["own"].pk, world["public"].pk}
    answer = ask({"where": {"collections": [world["hidden"].pk]}}, world["ada"])
    assert answer.hits == [] and answer.plan["matching"] == 0


def test_filters(world):
    first = Image.objects.filter(collection=world["own"]).first()
    add_tags(first, ["dawn", "fog"])
    user = world["ada"]
    assert [h.image for h in ask({"where": {"tags": {"all": ["dawn", "fog"]}}}, user).hits] == [
        first
    ]
    assert first not in [
        h.image for h in ask({"where": {"tags": {"none": ["fog"]}}, "limit": 200}, user).hits
    ]
    wide = ask({"where": {"orientation": "landscape"}, "limit": 200}, user).hits
    assert wide and all(h.image.width_px > h.image.height_px for h in wide)
    none = ask({"classes": [{"name": "sky", "max": 0}], "limit": 200}, user)
    with_sky = set(ClassArea.objects.filter(class_index=1).values_list("image", flat=True))
    assert none.hits and not with_sky & {h.image.pk for h in none.hits}


@pytest.mark.parametrize(
    ("payload", "field", "said"),
    [
        ({"lik": []}, "lik", "'like'"),
        ({"classes": [{"name": "skyy"}]}, "classes[0].name", "'sky'"),
        ({"classes": [{"name": "sky", "min": 2}]}, "classes[0].min", "0 to 1"),
        ({"classes": [{"name": "sky", "min": float("nan")}]}, "classes[0].min", "0 to 1"),
        ({"rank": {"contxt": 1}}, "rank.contxt", "'context'"),
        ({"limit": 0}, "limit", "1 to 200"),
        ({"like": [{"image": "x"}]}, "like[0].image", "id"),
        ({"like": [{"image": "x", "regio": 3}]}, "like[0].regio", "'region'"),
        ([], "query", "object"),
    ],
)
def test_errors_name_the_field_and_a_near_name(people, payload, field, said):
    with pytest.raises(QueryInvalid) as caught:
        ask(payload, people["ada"])
    assert caught.value.field == field and said in caught.value.message


def test_euclidean_orders_like_cosine_on_unit_vectors(world):
    image = Image.objects.filter(collection=world["own"]).first()
    base = {"like": [{"image": str(image.pk)}], "rank": {"context": 1}, "limit": 20}
    cosine, euclidean = (ask({**base, "metric": m}, world["ada"]) for m in ("cosine", "euclidean"))
    assert [h.image.pk for h in cosine.hits] == [h.image.pk for h in euclidean.hits]
    near = 1 - np.sqrt(max(0, 2 - 2 * cosine.hits[0].score)) / 2
    assert abs(euclidean.hits[0].score - near) < 5e-3


def test_a_painted_layout_finds_itself(world):
    answer = ask({"layout": {"cells": [[0, 0, "sky"], [0, 1, "sky"]]}, "limit": 5}, world["ada"])
    assert answer.hits[0].parts["layout"] > 0 and answer.plan["rank"]["layout"] == 1


# --- pgvector's traps --------------------------------------------------------------------------


@pytest.fixture
def indexed(people, settings):
    """Enough rows for an index to be worth it, and a planner that uses it."""
    collection = services.create_collection(people["ada"], "many")
    plant(collection, 1200, 77)
    release = Release.objects.get(state="active")
    settings.EXACT_ROWS = 100
    assert len(sql.build_indexes(release)) == 4 and sql.build_indexes(release) == []
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE retrieval_descriptor")
    yield {**people, "collection": collection, "release": release}
    with connection.cursor() as cursor:
        for name in sql.index_names(release):
            cursor.execute(f"DROP INDEX {name}")


def test_the_index_answers_with_as_many_as_asked_and_the_right_ones(indexed):
    hits = found = 0
    for image in Image.objects.order_by("id")[:10]:
        payload = {"like": [{"image": str(image.pk)}], "limit": 50}
        fast, exact = (ask({**payload, "exact": e}, indexed["ada"]) for e in (False, True))
        assert fast.plan["kind"] == "index" and exact.plan["kind"] == "exact"
        assert len(fast.hits) == 50  # more than ef_search's 40
        assert fast.plan["compared"] < 1200
        hits += 50
        found += len({h.image.pk for h in fast.hits} & {h.image.pk for h in exact.hits})
    assert found / hits > 0.9


def test_a_filter_through_the_index_still_gives_enough(indexed):
    image = Image.objects.first()
    answer = ask(
        {
            "like": [{"image": str(image.pk)}],
            "limit": 100,
            "classes": [{"name": "sky", "min": 0.1}],
        },
        indexed["ada"],
    )
    assert len(answer.hits) == min(100, answer.plan["matching"])


def plan_of(text: str, values=()) -> str:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + text, values)
        return "\n".join(row[0] for row in cursor.fetchall())


def test_what_uses_the_index_and_what_does_not(indexed):
    release, vector = indexed["release"].pk, str([1.0] * 256)
    base = (
        f"SELECT image_id FROM retrieval_descriptor d WHERE release_id = {release} "
        "ORDER BY {} LIMIT 10"
    )
    distance = f"(context::halfvec(256)) <=> '{vector}'::halfvec(256)"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        assert "hnsw_context" in plan_of(base.format(distance))
        # since PostgreSQL 13 a second sort key keeps the index, through an incremental sort only
        cursor.execute("SET LOCAL enable_incremental_sort = off")
        assert "hnsw_context" not in plan_of(base.format(f"{distance}, id"))
        assert "hnsw_context" not in plan_of(base.format(f"1 - ({distance}) DESC"))


def test_set_local_needs_a_transaction():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT '[1]'::vector <=> '[1]'::vector"
        )  # the setting comes with the library
        cursor.execute("SET LOCAL hnsw.ef_search = 77")
        cursor.execute("SHOW hnsw.ef_search")
        assert cursor.fetchone()[0] == "40"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL hnsw.ef_search = 77")
        cursor.execute("SHOW hnsw.ef_search")
        assert cursor.fetchone()[0] == "77"


@pytest.mark.parametrize("vector", [[0.0] * 256, [float("nan")] + [0.0] * 255])
def test_zero_and_nan_vectors_are_refused(world, vector):
    row = Descriptor.objects.first()
    row.context = HalfVector(vector)
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        row.save()


def test_rest_search_by_stored_image(world):
    client = Client(headers={"Authorization": f"Token {services.create_token(world['ada'], 't')}"})
    image = Image.objects.filter(collection=world["own"]).first()
    payload = {"like": [{"image": str(image.pk)}], "limit": 7}
    answer = client.post("/api/v1/searches", payload, content_type="application/json")
    assert answer.status_code == 200 and len(answer.json()["results"]) == 7
    assert set(answer.json()["results"][0]["parts"]) == {"context", "layout", "composition"}
    wrong = client.post("/api/v1/searches", {"lik": []}, content_type="application/json")
    assert wrong.status_code == 400 and wrong.json()["error"]["field"] == "lik"


def test_rest_search_by_an_uploaded_picture(world, worker):
    import io

    from tests.conftest import encoded, scene

    client = Client(headers={"Authorization": f"Token {services.create_token(world['ada'], 't')}"})
    file = io.BytesIO(encoded(scene(40)))
    file.name = "query.jpg"
    answer = client.post("/api/v1/searches?wait=0", {"file": file})
    assert answer.status_code == 202
    location = answer["Location"]
    answer = client.get(f"{location}?wait=30")
    assert answer.status_code == 200 and answer.json()["results"]
    others = Client(headers={"Authorization": f"Token {services.create_token(world['ben'], 't')}"})
    assert others.get(location).status_code == 404
    hits = {hit["id"] for hit in answer.json()["results"]}
    assert not Image.objects.filter(pk__in=hits, collection__kind="queries").exists()


def test_the_schema_has_no_warnings():
    from django.core.management import call_command

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")


def test_a_layout_fits_the_index_of_sparse_vectors():
    """pgvector refuses over 1,000 non-zeros in an HNSW index; a layout keeps its largest 1,000."""
    cells = np.arange(64 * 400, dtype=np.uint64).reshape(160, 160) % 19
    mask = np.repeat(np.repeat(cells.astype(np.uint8), 1, 0), 1, 1)
    indices, values = layout_of(mask, CLASSES)
    assert 0 < len(indices) <= 1000 and abs(np.linalg.norm(values) - 1) < 1e-5
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE wide (v sparsevec(2000))")
        cursor.execute("CREATE INDEX ON wide USING hnsw (v sparsevec_ip_ops)")
        dense = SparseVector({i: 1.0 for i in range(1001)}, 2000).to_text()
        with pytest.raises(Exception, match="1000 non-zero"), transaction.atomic():
            cursor.execute("INSERT INTO wide VALUES (%s)", [dense])


def test_an_old_pgvector_is_refused_at_start(monkeypatch):
    import psycopg

    from retrieval.embedded import EmbeddedError
    from retrieval.embedded import services as embedded
    from tests.conftest import database_url

    with psycopg.connect(database_url(), autocommit=True) as own:
        embedded._check_pgvector(own)
        monkeypatch.setattr(embedded, "MIN_PGVECTOR", (99, 0))
        with pytest.raises(EmbeddedError, match="too old"):
            embedded._check_pgvector(own)


def test_nothing_is_prepared_whose_plan_settings_change():
    """A prepared statement would keep a generic plan from before `SET LOCAL`."""
    connection.ensure_connection()
    assert connection.connection.prepare_threshold is None
