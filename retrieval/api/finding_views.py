"""Endpoints of what was found in a picture: analysis, areas, regions, vectors, similar pictures."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import search, selectors, services
from retrieval.api import serializers as shapes
from retrieval.api.base import IF_NONE_MATCH, LIMIT, conditional, flag_of, id_of, limit_of
from retrieval.errors import NotFound, StateConflict
from retrieval.models import Analysis, Descriptor, Image, Region
from retrieval.upload import active_release

_TAG = ["findings"]


class AreaShape(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    name = serializers.CharField()
    share = serializers.FloatField(help_text="Of the picture, 0 to 1.")


class AreasShape(serializers.Serializer[Any]):
    release = serializers.CharField()
    results = AreaShape(many=True)


class RegionShape(serializers.Serializer[Any]):
    number = serializers.IntegerField(help_text="From 0, by falling area; the rest comes last.")
    class_index = serializers.IntegerField(allow_null=True, help_text="null: the rest.")
    name = serializers.CharField(allow_null=True)
    area = serializers.FloatField(help_text="Share of the picture; all sum to 1.")
    box = serializers.ListField(
        child=serializers.FloatField(), help_text="x0, y0, x1, y1 as shares of width and height."
    )
    confidence = serializers.FloatField()
    vector = serializers.ListField(child=serializers.FloatField(), required=False)


class RegionsShape(serializers.Serializer[Any]):
    release = serializers.CharField()
    results = RegionShape(many=True)


class LayoutShape(serializers.Serializer[Any]):
    size = serializers.IntegerField(help_text="64 · classes; index (row·8 + column)·classes + c.")
    indices = serializers.ListField(child=serializers.IntegerField())
    values = serializers.ListField(child=serializers.FloatField())


class VectorsShape(serializers.Serializer[Any]):
    """The picture's descriptor, each vector of length 1; docs/search.md says how they are made."""

    release = serializers.CharField()
    composition = serializers.ListField(child=serializers.FloatField())
    layout = LayoutShape()
    context = serializers.ListField(child=serializers.FloatField())  # type: ignore[assignment]
    context_norm = serializers.FloatField(help_text="Length before `context` was normalised.")


def analysis_of(image: Image) -> Analysis:
    """The image's analysis by the active release; NotFound without one."""
    rows = Analysis.objects.filter(image=image, release__state="active").select_related("release")
    found = rows.first()
    if found is None:
        raise NotFound("The active release has not been asked about this picture.")
    return found


def parsed(image: Image) -> Analysis:
    """The analysis, once it is done; StateConflict before, and when it ended badly."""
    found = analysis_of(image)
    if found.state != "done":
        raise StateConflict(f"The picture's analysis is {found.state}, not done.")
    return found


class AnalysisView(APIView):
    """How far the parsing of a picture is."""

    @extend_schema(
        operation_id="get_analysis",
        parameters=[IF_NONE_MATCH],
        responses={200: shapes.AnalysisShape, 304: None},
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        found = analysis_of(selectors.image_for(request.user, pk))
        return conditional(request, shapes.analysis_json(found) or {})


class RetryView(APIView):
    """Parse a picture again."""

    @extend_schema(
        operation_id="parse_image_again",
        request=None,
        responses={202: shapes.AnalysisShape},
        tags=_TAG,
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        services.parse_again(request.user, image)
        return Response(shapes.analysis_json(analysis_of(image)), 202)


class AreasView(APIView):
    """Share of each class that occurs, largest first."""

    @extend_schema(operation_id="get_areas", responses=AreasShape, tags=_TAG)
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        release = parsed(image).release
        rows = [
            {"index": found.index, "name": found.name, "share": round(share, 6)}
            for found, share in selectors.areas_of(image, release)
        ]
        return Response({"release": release.name, "results": rows})


def _vector(value: Any) -> list[float]:
    numbers = value.to_list() if hasattr(value, "to_list") else value
    return [round(float(number), 6) for number in numbers]


def _region_json(row: Region, names: dict[int, str], vectors: bool) -> dict[str, Any]:
    return {
        "number": row.number,
        "class_index": row.class_index,
        "name": None if row.class_index is None else names[row.class_index],
        "area": row.area,
        "box": row.box,
        "confidence": row.confidence,
        **({"vector": _vector(row.vector)} if vectors else {}),
    }


class RegionsView(APIView):
    """Connected segments of at least 1 % of the picture, and the rest."""

    @extend_schema(
        operation_id="get_regions",
        parameters=[OpenApiParameter("vectors", bool, description="Their vectors too.")],
        responses=RegionsShape,
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        vectors = flag_of(request, "vectors")
        release = parsed(image).release
        names = {found.index: found.name for found in selectors.classes_of(release)}
        rows = selectors.regions_of(image, release)
        if not vectors:
            rows = rows.defer("vector")
        return Response(
            {"release": release.name, "results": [_region_json(r, names, vectors) for r in rows]}
        )


class VectorsView(APIView):
    """The vectors that search compares, for those who analyse by themselves."""

    @extend_schema(operation_id="get_vectors", responses=VectorsShape, tags=_TAG)
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        release = parsed(image).release
        row = Descriptor.objects.get(image=image, release=release)
        layout: Any = row.layout
        body = {
            "release": release.name,
            "composition": _vector(row.composition),
            "layout": {
                "size": layout.dimensions(),
                "indices": layout.indices(),
                "values": [round(float(number), 6) for number in layout.values()],
            },
            "context": _vector(row.context),
            "context_norm": row.context_norm,
        }
        return Response(body)


class SimilarView(APIView):
    """The most similar visible pictures: a search with nothing else in it."""

    @extend_schema(
        operation_id="get_similar",
        parameters=[
            LIMIT,
            OpenApiParameter("cursor", str, description="The `cursor` of the page before."),
            OpenApiParameter("collection", int, description="Only in this one."),
        ],
        responses=shapes.SearchAnswer,
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        parsed(image)
        query: dict[str, Any] = {"like": [{"image": str(pk)}], "limit": limit_of(request, 20)}
        if cursor := request.query_params.get("cursor"):
            query["cursor"] = cursor
        if "collection" in request.query_params:
            asked = id_of(request.query_params["collection"], "collection")
            found = selectors.collection_for(request.user, asked)
            query["where"] = {"collections": [found.pk]}
        checked = search.parse(query, release=active_release())
        return Response(shapes.answer_json(search.run(checked, request.user)))
