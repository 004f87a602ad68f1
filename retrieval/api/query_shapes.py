"""Shapes of queries and of what is answered around a search; docs/search.md says what they mean."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from retrieval.api.serializers import SearchAnswer, SparseImageShape, named
from retrieval.models import NearDuplicate
from retrieval.search.grammar import METRICS, ORIENTATIONS

SKY_NO_CAR = {
    "classes": [{"name": "sky", "min": 0.3}, {"name": "car", "max": 0}],
    "limit": 20,
}


def _numbers(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.FloatField(), **options)


def _texts() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(), required=False)


def _class(**options: Any) -> serializers.CharField:
    return serializers.CharField(help_text="A class's name.", **options)


_Span = named(
    "Span",
    {
        "from": serializers.CharField(allow_null=True, required=False, help_text="Day or moment."),
        "to": serializers.CharField(allow_null=True, required=False),
    },
)


_Example = named(
    "Example",
    {
        "image": serializers.UUIDField(),
        "weight": serializers.FloatField(required=False, min_value=0, max_value=100),
        "region": serializers.IntegerField(required=False, help_text="Number of one segment."),
        "box": _numbers(required=False, help_text="x0, y0, x1, y1 as shares."),
        "class": _class(required=False),
    },
)


class PaintedScene(serializers.Serializer[Any]):
    """What shall be where: cells of a grid of 8 × 8."""

    grid = serializers.IntegerField(required=False, min_value=8, max_value=8)
    cells = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField(), min_length=3, max_length=3),
        help_text="[row, column, class] of each painted cell.",
    )


class ClassRange(serializers.Serializer[Any]):
    name = _class()
    min = serializers.FloatField(required=False, min_value=0, max_value=1)
    max = serializers.FloatField(required=False, min_value=0, max_value=1)


class TagFilter(serializers.Serializer[Any]):
    all = _texts()
    any = _texts()
    none = _texts()


class RecordFilter(serializers.Serializer[Any]):
    collections = serializers.ListField(child=serializers.IntegerField(), required=False)
    tags = TagFilter(required=False)
    taken = _Span(required=False)
    uploaded = _Span(required=False)
    parsed = _Span(required=False)
    orientation = serializers.ChoiceField(choices=ORIENTATIONS, required=False, allow_null=True)


class RankWeights(serializers.Serializer[Any]):
    layout = serializers.FloatField(required=False, min_value=0)
    composition = serializers.FloatField(required=False, min_value=0)
    region = serializers.FloatField(required=False, min_value=0)
    context = serializers.FloatField(required=False, min_value=0)  # type: ignore[assignment]


@extend_schema_serializer(
    examples=[OpenApiExample("Sky over 30 %, no car", SKY_NO_CAR, request_only=True)]
)
class QueryShape(serializers.Serializer[Any]):
    """What is searched for; every field may be left out."""

    like = _Example(many=True, required=False)
    unlike = _Example(many=True, required=False)
    layout = PaintedScene(required=False)
    classes = ClassRange(many=True, required=False)
    where = RecordFilter(required=False)
    rank = RankWeights(required=False, allow_null=True)
    metric = serializers.ChoiceField(choices=METRICS, required=False)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=200)
    cursor = serializers.CharField(required=False, allow_null=True)
    exact = serializers.BooleanField(required=False)


class QueryBody(serializers.Serializer[Any]):
    query = QueryShape(required=False)


class ExplainBody(serializers.Serializer[Any]):
    query = QueryShape()
    image = serializers.UUIDField(help_text="The hit.")
    pairs = serializers.IntegerField(required=False, min_value=0, max_value=1000)


class WordsBody(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=500)


class Waiting(serializers.Serializer[Any]):
    """The picture is not parsed yet; ask again at `location`."""

    state = serializers.CharField()
    location = serializers.CharField()


# --- why a picture is a hit --------------------------------------------------------------------


class PartShape(serializers.Serializer[Any]):
    similarity = serializers.FloatField(help_text="Cosine.")
    score = serializers.FloatField(help_text="The similarity in the query's metric.")
    weight = serializers.FloatField()
    contribution = serializers.FloatField(help_text="score · weight; they sum to the hit's score.")


_Segment = named(
    "Segment",
    {
        "image": serializers.UUIDField(),
        "number": serializers.IntegerField(),
        "class": _class(allow_null=True),
        "area": serializers.FloatField(),
        "box": _numbers(),
    },
)


class RegionPairShape(serializers.Serializer[Any]):
    query = _Segment()
    hit = _Segment()
    similarity = serializers.FloatField()
    share = serializers.FloatField(help_text="What the pair adds to the context similarity.")
    link = serializers.IntegerField(allow_null=True)


class ContextPairs(serializers.Serializer[Any]):
    pairs = RegionPairShape(many=True)
    others = serializers.FloatField(help_text="Sum of the pairs that are not shown.")


class LayoutCells(serializers.Serializer[Any]):
    grid = serializers.IntegerField()
    cells = serializers.ListField(child=_numbers())


_ClassShare = named(
    "ClassShare",
    {
        "class": _class(),
        "query": serializers.FloatField(),
        "hit": serializers.FloatField(),
        "share": serializers.FloatField(),
    },
)


class PartFound(serializers.Serializer[Any]):
    example = serializers.DictField(help_text="The region or box that was asked for.")
    number = serializers.IntegerField(allow_null=True)
    similarity = serializers.FloatField()
    share = serializers.FloatField()


class ExplanationShape(serializers.Serializer[Any]):
    """Why a picture is a hit; contributions of the parts sum to the score."""

    image = serializers.UUIDField()
    release = serializers.CharField()
    score = serializers.FloatField()
    parts = serializers.DictField(child=PartShape())
    layout = LayoutCells(required=False)
    composition = _ClassShare(many=True, required=False)
    regions = PartFound(many=True, required=False)
    context = ContextPairs(required=False)  # type: ignore[assignment]


# --- numbers -----------------------------------------------------------------------------------


class ChipShape(ClassRange):
    text = serializers.CharField(help_text="The words it comes from.")
    alternatives = serializers.ListField(child=serializers.CharField())


class WordsShape(serializers.Serializer[Any]):
    classes = ChipShape(many=True)
    unused = serializers.ListField(child=serializers.CharField())
    query = QueryShape()


class CountShape(serializers.Serializer[Any]):
    count = serializers.IntegerField()


class HistogramShape(serializers.Serializer[Any]):
    name = _class()
    counts = serializers.ListField(
        child=serializers.IntegerField(), help_text="Bin i of 20: shares from i/20 to (i+1)/20."
    )
    without = serializers.IntegerField(help_text="Pictures without the class.")


class HistogramsShape(serializers.Serializer[Any]):
    images = serializers.IntegerField()
    bins = serializers.IntegerField()
    classes = HistogramShape(many=True)


class MeanArea(serializers.Serializer[Any]):
    name = _class()
    mean_area = serializers.FloatField()
    images = serializers.IntegerField()


class ChartsShape(serializers.Serializer[Any]):
    images = serializers.IntegerField()
    classes = MeanArea(many=True)
    together = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="[i][j]: pictures in which classes i and j both cover 1 % or more.",
    )


class MapCellShape(serializers.Serializer[Any]):
    image = serializers.UUIDField(help_text="The picture nearest the cell's middle.")
    x = serializers.FloatField()
    y = serializers.FloatField()
    images = serializers.IntegerField(help_text="Pictures in the cell.")
    thumb = serializers.CharField()


class MapShape(serializers.Serializer[Any]):
    points = serializers.IntegerField()
    images = serializers.IntegerField()
    measured_at = serializers.DateTimeField(allow_null=True)
    cells = MapCellShape(many=True)


# --- saved searches ----------------------------------------------------------------------------


class SavedSearchRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    query = QueryShape(required=False)
    shared = serializers.BooleanField(required=False)
    collection = serializers.IntegerField(required=False, allow_null=True)


_WhyNot = named(
    "WhyNot",
    {
        "code": serializers.CharField(),
        "message": serializers.CharField(),
        "field": serializers.CharField(allow_null=True),
    },
)


class SavedSearchShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    query = QueryShape()
    collection = serializers.IntegerField(allow_null=True)
    shared = serializers.BooleanField()
    owner = serializers.CharField()
    own = serializers.BooleanField()
    removable = serializers.BooleanField(
        help_text="The caller may delete it, or send `shared: false`: the owner, and managers of the "
        "collection that it is shared in."
    )
    looked_at = serializers.DateTimeField(allow_null=True)
    new = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="Parsed since the caller looked; in lists with `?new=true`. Null where it fails.",
    )
    error = _WhyNot(
        required=False,
        allow_null=True,
        help_text="Beside `new`: why the query cannot be answered, such as an example that is gone.",
    )


class SavedSearchPage(serializers.Serializer[Any]):
    results = SavedSearchShape(many=True)
    next = serializers.CharField(allow_null=True)


class LookRequest(serializers.Serializer[Any]):
    limit = serializers.IntegerField(required=False, min_value=1, max_value=200)
    cursor = serializers.CharField(required=False, allow_null=True)


class SavedAnswer(SearchAnswer):
    new = serializers.IntegerField(help_text="Of these, parsed since the caller looked last.")


# --- near-duplicates ---------------------------------------------------------------------------


class PairShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    first = SparseImageShape()
    second = SparseImageShape()
    layout = serializers.FloatField(help_text="Similarity of the layouts.")
    state = serializers.ChoiceField(choices=NearDuplicate.State.choices)
    resolved_at = serializers.DateTimeField(allow_null=True)
    context = serializers.FloatField(help_text="Similarity.")  # type: ignore[assignment]


class PairPage(serializers.Serializer[Any]):
    results = PairShape(many=True)
    next = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()


class PairChange(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=NearDuplicate.State.choices)
