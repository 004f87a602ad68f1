"""Endpoints of saved searches and of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import selectors
from retrieval.api import query_shapes
from retrieval.api import serializers as shapes
from retrieval.api.base import CURSOR, LIMIT, flag_of, form_of, page_of
from retrieval.errors import FieldInvalid, RetrievalError
from retrieval.models import Collection, NearDuplicate, SavedSearch
from retrieval.phrases import said
from retrieval.search import duplicates, saved
from retrieval.upload import active_release

_PAGE = (LIMIT, CURSOR)
_STATES = NearDuplicate.State.values


def saved_json(search: SavedSearch, user: Any) -> dict[str, Any]:
    """A saved search as the API gives it."""
    removable = bool(saved.removable(user, [search]))
    looked_at = saved.looked_at(user, search)
    return {**_record(search, user, looked_at, removable), **_new(search, user)}


def _new(search: SavedSearch, user: Any) -> dict[str, Any]:
    """How many are new, or why nobody can say: one dead example hides no other saved search."""
    try:
        return {"new": saved.new_since(user, search, active_release()), "error": None}
    except RetrievalError as error:
        told = {"code": error.code, "message": said(error.message), "field": error.field}
        return {"new": None, "error": told}


def _record(
    search: SavedSearch, user: Any, moment: datetime | None, removable: bool
) -> dict[str, Any]:
    return {
        "id": search.pk,
        "name": search.name,
        "query": search.query,
        "collection": search.collection_id,
        "shared": search.shared,
        "owner": str(search.owner),
        "own": search.owner_id == user.pk,
        "removable": removable,
        "looked_at": moment,
    }


def _values(request: Request) -> dict[str, Any]:
    """The fields of a saved search that a request gives."""
    body = form_of(request)
    values: dict[str, Any] = {}
    if "name" in body:
        values["name"] = str(body["name"])
    if "query" in body:
        values["query"] = body["query"]
    if "shared" in body:
        if not isinstance(body["shared"], bool):
            raise FieldInvalid("shared is true or false.", field="shared")
        values["shared"] = body["shared"]
    if "collection" in body:
        values["collection"] = _collection(request, body["collection"])
    return values


def _collection(request: Request, pk: Any) -> Collection | None:
    if pk is None:
        return None
    if isinstance(pk, bool) or not isinstance(pk, int):
        raise FieldInvalid("collection must be a collection's id.", field="collection")
    return selectors.collection_for(request.user, pk)


class SavedSearchesView(APIView):
    """Own and shared saved searches, with what is new in each; save one."""

    @extend_schema(
        parameters=[
            OpenApiParameter("new", bool, description="Count what is new in each."),
            *_PAGE,
        ],
        responses=query_shapes.SavedSearchPage,
        operation_id="list_saved_searches",
        description="Own and shared ones by name. What is new in each takes a search of each.",
    )
    def get(self, request: Request) -> Response:
        count = flag_of(request, "new")

        def shape(rows: list[SavedSearch]) -> list[dict[str, Any]]:
            looks = saved.looks_at(request.user, rows)
            removable = saved.removable(request.user, rows)
            records = [
                _record(row, request.user, looks.get(row.pk), row.pk in removable) for row in rows
            ]
            if not count:
                return records
            pairs = zip(records, rows, strict=True)
            return [{**record, **_new(row, request.user)} for record, row in pairs]

        return Response(page_of(saved.searches_for(request.user), request, ["name", "id"], shape))

    @extend_schema(
        request=query_shapes.SavedSearchRequest,
        responses={201: query_shapes.SavedSearchShape},
        operation_id="save_search",
    )
    def post(self, request: Request) -> Response:
        values = {"name": "", "query": {}, **_values(request)}
        made = saved.save(request.user, release=active_release(), **values)
        return Response(saved_json(made, request.user), 201)


class SavedSearchView(APIView):
    """One saved search: its record, a change, its removal."""

    @extend_schema(responses=query_shapes.SavedSearchShape, operation_id="get_saved_search")
    def get(self, request: Request, pk: int) -> Response:
        return Response(saved_json(saved.search_for(request.user, pk), request.user))

    @extend_schema(
        request=query_shapes.SavedSearchRequest,
        responses=query_shapes.SavedSearchShape,
        operation_id="change_saved_search",
    )
    def patch(self, request: Request, pk: int) -> Response:
        search = saved.search_for(request.user, pk)
        changed = saved.change(request.user, search, active_release(), **_values(request))
        return Response(saved_json(changed, request.user))

    @extend_schema(responses={204: None}, operation_id="delete_saved_search")
    def delete(self, request: Request, pk: int) -> Response:
        saved.delete(request.user, saved.search_for(request.user, pk))
        return Response(status=204)


class SavedSearchAnswerView(APIView):
    """The answer of a saved search with the user's own rights; remembers that the user looked."""

    @extend_schema(
        request=query_shapes.LookRequest,
        responses=query_shapes.SavedAnswer,
        operation_id="look_at_saved_search",
    )
    def post(self, request: Request, pk: int) -> Response:
        search = saved.search_for(request.user, pk)
        page = {k: v for k, v in form_of(request).items() if k in ("limit", "cursor")}
        answer, new = saved.look(request.user, search, active_release(), **page)
        return Response({**shapes.answer_json(answer), "new": new})


def pairs_json(pairs: Sequence[NearDuplicate]) -> list[dict[str, Any]]:
    """Pairs as the API gives them, in as many queries as for one."""
    both = {image.pk: image for pair in pairs for image in (pair.first, pair.second)}
    images = list(both.values())
    records = {
        image.pk: body for image, body in zip(images, shapes.images_json(images), strict=True)
    }
    return [_pair_json(pair, records) for pair in pairs]


def _pair_json(pair: NearDuplicate, records: dict[Any, Any]) -> dict[str, Any]:
    return {
        "id": pair.pk,
        "first": records[pair.first_id],
        "second": records[pair.second_id],
        "context": round(pair.context, 4),
        "layout": round(pair.layout, 4),
        "state": pair.state,
        "resolved_at": pair.resolved_at,
    }


class DuplicatesView(APIView):
    """Near-duplicates of a collection, most alike first."""

    @extend_schema(
        parameters=[OpenApiParameter("state", str, enum=list(_STATES)), *_PAGE],
        responses=query_shapes.PairPage,
        operation_id="list_near_duplicates",
    )
    def get(self, request: Request, pk: int) -> Response:
        collection = selectors.collection_for(request.user, pk)
        state = request.query_params.get("state", "open")
        pairs = duplicates.pairs_for(request.user, collection, state)
        page = page_of(pairs, request, ["-context", "id"], pairs_json)
        return Response({**page, "count": pairs.count()})


class DuplicateView(APIView):
    """Say what a pair is: the same picture, different ones, or open again."""

    @extend_schema(
        request=query_shapes.PairChange,
        responses=query_shapes.PairShape,
        operation_id="resolve_near_duplicate",
    )
    def patch(self, request: Request, pk: int) -> Response:
        pair = duplicates.resolve(request.user, pk, str(form_of(request).get("state", "")))
        return Response(pairs_json([pair])[0])
