"""Words in English and Chinese to class queries; every class of the known label sets is reachable."""

from __future__ import annotations

import pytest
from django.test import Client

from retrieval import search, services
from retrieval.counts import counts_since
from retrieval.models import Release, SemanticClass
from retrieval.search import words
from tests.search_world import world_fixture  # noqa: F401

pytestmark = pytest.mark.django_db

CITYSCAPES = (
    "road sidewalk building wall fence pole,traffic light,traffic sign,vegetation terrain sky person "
    "rider car truck bus train motorcycle bicycle"
)


def meaning(text, world):
    found = words.read(text, world["release"])
    return {c.name: (c.min, c.max) for c in found.chips}, found.unused


IN, OUT = (0.005, 1.0), (0.0, 0.005)


@pytest.mark.parametrize(
    ("text", "chips", "unused"),
    [
        (
            "street with car and trees, no people",
            {"road": IN, "car": IN, "vegetation": IN, "person": OUT},
            [],
        ),
        (
            "有汽车和树木的街道，没有人",
            {"car": IN, "vegetation": IN, "road": IN, "person": OUT},
            [],
        ),
        ("sky over 30%, at most 5 % buildings", {"sky": (0.3, 1.0), "building": (0, 0.05)}, []),
        ("天空超过30%，建筑不到5%", {"sky": (0.3, 1.0), "building": (0, 0.05)}, []),
        ("30%以上的天空", {"sky": (0.3, 1.0)}, []),
        (
            "without cars or bicycles but with boats",
            {"car": OUT, "bicycle": OUT, "boat": IN},
            ["or"],
        ),
        ("a quiet old harbour with yachts", {"boat": IN}, ["quiet old harbour"]),
        ("Lorries", {"car": IN}, []),
        ("漂亮的湖", {"water": IN}, ["漂亮"]),
        ("", {}, []),
        ("no", {}, []),
    ],
)
def test_words_mean_classes(world, text, chips, unused):
    assert meaning(text, world) == (chips, unused)


@pytest.mark.parametrize(
    ("text", "chips", "unused"),
    [
        ("no more than 30 % sky", {"sky": (0, 0.3)}, []),
        ("not more  than 30% sky and cars", {"sky": (0, 0.3), "car": IN}, []),
        ("no less than 30% sky", {"sky": (0.3, 1.0)}, []),
        ("not fewer than 30 percent sky", {"sky": (0.3, 1.0)}, []),
        ("sky no more than 30 %", {"sky": (0, 0.3)}, []),
        ("sky not over 30 %, no cars", {"sky": (0, 0.3), "car": OUT}, []),
        ("sky not under 30 %", {"sky": (0.3, 1.0)}, []),
        ("not under 30 % sky", {"sky": (0.3, 1.0)}, []),
        ("without any more than 30 % sky", {"sky": (0, 0.3)}, []),
        ("no cars over 10 %", {"car": (0, 0.1)}, []),
        ("no sky under 10 %", {"sky": (0.1, 1.0)}, []),
        ("no cars; over 30 % sky", {"car": OUT, "sky": (0.3, 1.0)}, []),
        ("天空不超过30%", {"sky": (0, 0.3)}, []),
        ("不超过30%的天空", {"sky": (0, 0.3)}, []),
        ("天空不少于30%", {"sky": (0.3, 1.0)}, []),
        ("不低于30%的天空", {"sky": (0.3, 1.0)}, []),
        ("天空不多于30%，没有人", {"sky": (0, 0.3), "person": OUT}, []),
        ("天空低于30%", {"sky": (0, 0.3)}, []),
        ("没有30%以上的天空", {"sky": (0, 0.3)}, []),
        ("over 30 %", {}, ["over 30 %"]),
        ("sky blue not over 30 %", {"sky": IN}, ["blue", "not over 30 %"]),
        ("over 20 % at most 30% sky", {"sky": (0, 0.3)}, ["over 20 %"]),
    ],
)
def test_limits_that_are_denied_are_turned_around(world, text, chips, unused):
    assert meaning(text, world) == (chips, unused)


def test_what_was_understood_is_a_query_of_the_grammar(world):
    found = words.read("forest, mountains, no houses", world["release"])
    query = search.parse(found.query, release=world["release"])
    assert [asked.name for asked in query.classes] == ["vegetation", "mountain", "building"]


def label_set(name, classes):
    base = Release.objects.get(state="active")
    base.pk, base.name, base.state = None, name, "retired"
    base.save()
    SemanticClass.objects.bulk_create(
        SemanticClass(release=base, index=i, name=c, colour="#000000")
        for i, c in enumerate(classes)
    )
    return base


def test_other_label_sets_name_the_same_things_otherwise(world):
    cityscapes = [
        w for part in CITYSCAPES.split(",") for w in ([part] if "traffic" in part else part.split())
    ]
    release = label_set("cityscapes", cityscapes)
    chips = words.read("street with car and trees, pavement, no people", release).chips
    assert [c.name for c in chips] == ["road", "car", "vegetation", "sidewalk", "person"]
    ade = label_set(
        "ade", ["building;edifice", "tree", "plant;flora", "house", "sea", "water", "road;route"]
    )
    found = words.read("street, trees, ocean, a house and a building", ade).chips
    assert [c.name for c in found] == ["road;route", "tree", "sea", "house", "building;edifice"]
    assert found[2].alternatives == ("water",)
    voc = label_set("voc", ["aeroplane", "diningtable", "tvmonitor", "pottedplant", "cow"])
    found = words.read("plane, dining table, TV, cattle and houseplants", voc).chips
    assert [c.name for c in found] == [
        "aeroplane",
        "diningtable",
        "tvmonitor",
        "cow",
        "pottedplant",
    ]


def test_rest_gives_chips_and_unused_words(world):
    client = Client(headers={"Authorization": f"Token {services.create_token(world['ada'], 't')}"})
    answer = client.get("/api/v1/searches/words", {"text": "misty sea, no boats"}).json()
    assert [chip["name"] for chip in answer["classes"]] == ["water", "boat"]
    assert answer["unused"] == ["misty"] and answer["query"]["classes"][1]["max"] == 0.005
    posted = client.post("/api/v1/searches/words", {"text": "sky"}, content_type="application/json")
    assert posted.json()["classes"][0]["text"] == "sky"


def test_searches_are_counted_by_day_but_not_their_further_pages(world):
    client = Client()
    client.force_login(world["ada"])

    def ask(**query) -> dict:
        return client.post("/api/v1/searches", query, content_type="application/json").json()

    first = ask(limit=2)
    assert first["cursor"]
    ask(limit=2, cursor=first["cursor"])
    ask(limit=0)  # refused
    assert sum(counts_since("searches", 1).values()) == 1
