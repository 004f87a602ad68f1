"""Endpoints around a search: why a hit is one, how many match, what words mean, what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import search
from retrieval.api import query_shapes
from retrieval.api.base import form_of
from retrieval.errors import FieldInvalid
from retrieval.search import explain, words
from retrieval.upload import active_release

_QUERY = OpenApiParameter("query", str, description="JSON, see docs/search.md.")
_IMAGE = OpenApiParameter("image", OpenApiTypes.UUID, description="The hit.", required=True)


def read_query(value: Any) -> search.Query:
    """A query that came as an object, or as JSON text in an address."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            raise FieldInvalid(f"query is not JSON: {error}", field="query") from error
    return search.parse({} if value is None else value, release=active_release())


def whole(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number among a request's fields; FieldInvalid when it is none or out of range."""
    try:
        found = int(values.get(name, default))
    except (TypeError, ValueError) as error:
        raise FieldInvalid(f"{name} is a whole number.", field=name) from error
    if not low <= found <= high:
        raise FieldInvalid(f"{name} is from {low} to {high}.", field=name)
    return found


class ExplainView(APIView):
    """Why a picture is a hit of a query; all tables add up to the score."""

    post_reads = True

    def _answer(self, request: Request, values: Mapping[str, Any]) -> Response:
        query = read_query(values.get("query"))
        image = search.fields.image_id(values.get("image"), "image")
        pairs = whole(values, "pairs", 20, 0, 1000)
        found = explain.explain(query, request.user, active_release(), image)
        return Response(explain.to_json(found, pairs))

    @extend_schema(
        parameters=[_QUERY, _IMAGE, OpenApiParameter("pairs", int)],
        responses=query_shapes.ExplanationShape,
        operation_id="explain_hit",
    )
    def get(self, request: Request) -> Response:
        return self._answer(request, request.query_params)

    @extend_schema(
        request=query_shapes.ExplainBody,
        responses=query_shapes.ExplanationShape,
        operation_id="explain_hit_post",
    )
    def post(self, request: Request) -> Response:
        return self._answer(request, form_of(request))


class WordsView(APIView):
    """The class query that a text means, as chips to correct, and the words that were not used."""

    post_reads = True

    def _answer(self, values: Mapping[str, Any]) -> Response:
        found = words.read(str(values.get("text", "")), active_release())
        return Response(
            {
                "classes": [chip.to_json() for chip in found.chips],
                "unused": found.unused,
                "query": found.query,
            }
        )

    @extend_schema(
        parameters=[OpenApiParameter("text", str, required=True)],
        responses=query_shapes.WordsShape,
        operation_id="read_words",
    )
    def get(self, request: Request) -> Response:
        return self._answer(request.query_params)

    @extend_schema(
        request=query_shapes.WordsBody,
        responses=query_shapes.WordsShape,
        operation_id="read_words_post",
    )
    def post(self, request: Request) -> Response:
        return self._answer(form_of(request))
