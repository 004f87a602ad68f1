"""Endpoints of counts, histograms, charts, painted layouts and the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import selectors
from retrieval.api import query_shapes
from retrieval.api.base import form_of
from retrieval.api.insight_views import read_query, whole
from retrieval.errors import FieldInvalid
from retrieval.search import charts, explore, fields
from retrieval.search.vectors import cells_of
from retrieval.upload import active_release

_QUERY = OpenApiParameter("query", str, description="JSON, see docs/search.md.")


class _OfQuery(APIView):
    """GET with the query as JSON text, POST with it in the body."""

    post_reads = True

    def answer(self, request: Request, values: Mapping[str, Any]) -> Response:
        raise NotImplementedError


class CountView(_OfQuery):
    """Exactly how many visible pictures match a query."""

    def answer(self, request: Request, values: Mapping[str, Any]) -> Response:
        query = read_query(values.get("query"))
        return Response({"count": charts.count(query, request.user, active_release())})

    @extend_schema(
        parameters=[_QUERY], responses=query_shapes.CountShape, operation_id="count_matches"
    )
    def get(self, request: Request) -> Response:
        return self.answer(request, request.query_params)

    @extend_schema(
        request=query_shapes.QueryBody,
        responses=query_shapes.CountShape,
        operation_id="count_matches_post",
    )
    def post(self, request: Request) -> Response:
        return self.answer(request, form_of(request))


class HistogramsView(_OfQuery):
    """Of every class how many pictures have it with each share: what stands behind its slider."""

    def answer(self, request: Request, values: Mapping[str, Any]) -> Response:
        query = read_query(values.get("query"))
        return Response(charts.histograms(query, request.user, active_release()))

    @extend_schema(
        parameters=[_QUERY], responses=query_shapes.HistogramsShape, operation_id="class_histograms"
    )
    def get(self, request: Request) -> Response:
        return self.answer(request, request.query_params)

    @extend_schema(
        request=query_shapes.QueryBody,
        responses=query_shapes.HistogramsShape,
        operation_id="class_histograms_post",
    )
    def post(self, request: Request) -> Response:
        return self.answer(request, form_of(request))


class ChartsView(APIView):
    """Mean areas and co-occurrence of classes, over one collection or all visible ones."""

    @extend_schema(
        parameters=[OpenApiParameter("collection", int)],
        responses=query_shapes.ChartsShape,
        operation_id="class_charts",
    )
    def get(self, request: Request) -> Response:
        chosen = request.query_params.get("collection")
        if chosen is None:
            pks = list(selectors.collections_for(request.user).values_list("pk", flat=True))
        else:
            pk = whole(request.query_params, "collection", 0, 0, 2**31 - 1)
            pks = [selectors.collection_for(request.user, pk).pk]
        return Response(charts.charts(pks, active_release()))


class LayoutView(APIView):
    """A picture's own layout as a painted scene, to start painting from."""

    @extend_schema(
        parameters=[OpenApiParameter("image", OpenApiTypes.UUID, required=True)],
        responses=query_shapes.PaintedScene,
        operation_id="picture_layout",
    )
    def get(self, request: Request) -> Response:
        image = selectors.image_for(
            request.user, fields.image_id(request.query_params.get("image"), "image")
        )
        release = active_release()
        names = {found.index: found.name for found in selectors.classes_of(release)}
        cells = cells_of(image.pk, release)
        return Response({"grid": 8, "cells": [[r, c, names[index]] for r, c, index in cells]})


class MapView(APIView):
    """A window of a collection's map: one picture for each cell, and how many lie there."""

    @extend_schema(
        parameters=[
            OpenApiParameter("box", str, description="x0,y0,x1,y1 from 0 to 1; all by default."),
            OpenApiParameter("cells", int, description="Cells a side, 1..64; 16 by default."),
        ],
        responses=query_shapes.MapShape,
        operation_id="collection_map",
    )
    def get(self, request: Request, pk: int) -> Response:
        collection = selectors.collection_for(request.user, pk)
        release = active_release()
        try:
            corners = [
                float(part) for part in request.query_params.get("box", "0,0,1,1").split(",")
            ]
        except ValueError as error:
            raise FieldInvalid("box is x0,y0,x1,y1.", field="box") from error
        box = fields.box(corners, "box")
        cells = whole(request.query_params, "cells", 16, 1, explore.MAX_CELLS)
        found = explore.window(collection, release, box, cells)
        points = [
            {
                "image": str(cell.image),
                "x": cell.x,
                "y": cell.y,
                "images": cell.images,
                "thumb": reverse("thumb", args=[cell.image, 256]),
            }
            for cell in found
        ]
        return Response({**explore.state(collection, release), "cells": points})
