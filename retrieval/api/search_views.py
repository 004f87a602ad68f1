"""Search endpoints: a query as JSON, or an uploaded picture that is parsed first."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import search, selectors, services
from retrieval.api import serializers as shapes
from retrieval.api.base import form_of
from retrieval.api.query_shapes import QueryShape, Waiting
from retrieval.counts import count
from retrieval.errors import FieldInvalid, FileRequired, NotFound, RetrievalError
from retrieval.models import Image
from retrieval.upload import active_release

MAX_WAIT_S = 30.0


def await_analysis(image: Image, wait_s: float) -> str:
    """State of the analysis once it is final, or after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        analysis = selectors.analysis_of(image)
        if analysis is None:
            raise NotFound("The picture is not being parsed.")
        if analysis.state in analysis.FINAL or time.monotonic() >= deadline:
            return analysis.state
        time.sleep(0.05)


def answered(payload: Any, user: Any) -> dict[str, Any]:
    """The answer of a query; the first page of each is counted for the admin's chart."""
    query = search.parse(payload, release=active_release())
    found = search.run(query, user)
    if not query.cursor:
        count("searches")
    return shapes.answer_json(found)


def search_with(image: Image, user: Any, wait_s: float) -> dict[str, Any] | None:
    """The answer of a search with an uploaded picture, or None while it is not parsed."""
    state = await_analysis(image, wait_s)
    if state in ("queued", "running"):
        return None
    if state != "done":
        analysis = selectors.analysis_of(image)
        error = RetrievalError(analysis.error_detail if analysis else "", field="file")
        error.code, error.http_status = (analysis.error_code if analysis else state), 422
        raise error
    payload = dict(image.metadata.get("query") or {})
    payload["like"] = [*payload.get("like", []), {"image": str(image.pk)}]
    return answered(payload, user)


def _wait(request: Request) -> float:
    try:
        wait = float(request.query_params.get("wait", 10))
    except ValueError as error:
        raise FieldInvalid("wait is a number of seconds.", field="wait") from error
    if not 0 <= wait <= MAX_WAIT_S:
        raise FieldInvalid(f"wait is 0 to {MAX_WAIT_S:g} seconds.", field="wait")
    return wait


def _search_answer(image: Image, request: Request) -> Response:
    answer = search_with(image, request.user, _wait(request))
    if answer is None:
        location = reverse("api:search", args=[image.pk])
        return Response(
            {"state": "queued", "location": location}, 202, headers={"Location": location}
        )
    return Response(answer)


_WAIT = OpenApiParameter(
    "wait", float, description="Seconds to wait for an uploaded picture, 0..30."
)


class SearchesView(APIView):
    """Search by a query (JSON), or by an uploaded picture (form with `file`, and `query` as JSON)."""

    parser_classes = (JSONParser, MultiPartParser)
    post_reads = True

    @extend_schema(
        request={
            "application/json": QueryShape,
            "multipart/form-data": shapes.SearchRequest,
        },
        parameters=[_WAIT],
        responses={200: shapes.SearchAnswer, 202: Waiting},
        operation_id="search",
    )
    def post(self, request: Request) -> Response:
        if not request.content_type.startswith("multipart/"):
            return Response(answered(request.data, request.user))
        payload = self._form_query(request)
        search.parse(payload, release=active_release())  # refused before anything is stored
        file = request.FILES.get("file")
        if file is None:
            raise FileRequired("Send the picture as the form field `file`.", field="file")
        image = services.upload_query(request.user, file, file.name or "").image
        Image.objects.filter(pk=image.pk).update(metadata={"query": payload})
        image.refresh_from_db()
        return _search_answer(image, request)

    def _form_query(self, request: Request) -> dict[str, Any]:
        try:
            payload = json.loads(form_of(request).get("query") or "{}")
        except ValueError as error:
            raise FieldInvalid(f"query is not JSON: {error}", field="query") from error
        return payload  # type: ignore[no-any-return]


class SearchView(APIView):
    """The answer of a search with an uploaded picture, once that is parsed."""

    @extend_schema(
        parameters=[_WAIT],
        responses={200: shapes.SearchAnswer, 202: Waiting},
        operation_id="get_search",
    )
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        return _search_answer(selectors.image_for(request.user, pk), request)
