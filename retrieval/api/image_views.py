"""Endpoints of pictures: list, read, change, remove."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import bulk, editing, selectors
from retrieval.api import serializers as shapes
from retrieval.api.base import (
    CURSOR,
    FIELDS,
    IF_MATCH,
    IF_NONE_MATCH,
    LIMIT,
    conditional,
    form_of,
    id_of,
    known,
    limit_of,
    names_of,
    only,
    require_match,
    sparse,
    text_of,
    with_etag,
)
from retrieval.api.upload_endpoint import UploadEndpoint
from retrieval.errors import FieldInvalid
from retrieval.gallery import SORTS, gallery_page, parse_filter
from retrieval.models import Analysis, Image
from retrieval.permissions import require_edit

_TAG = ["images"]
FILTERS = [
    OpenApiParameter("collection", int, description="All visible ones without it."),
    OpenApiParameter("text", str, description="Part of the title, any case."),
    OpenApiParameter("tag", str, many=True, description="All of these."),
    OpenApiParameter("class", str, description="A class's name, for `min`, `max`, `sort=area`."),
    OpenApiParameter("min", float, description="Least share of the class in percent."),
    OpenApiParameter("max", float, description="Largest share of the class in percent."),
    OpenApiParameter("state", str, enum=list(Analysis.State.values)),
    OpenApiParameter("since", OpenApiTypes.DATE, description="Uploaded on this day or later."),
    OpenApiParameter("until", OpenApiTypes.DATE),
    OpenApiParameter("taken_since", OpenApiTypes.DATE),
    OpenApiParameter("taken_until", OpenApiTypes.DATE),
    OpenApiParameter("sort", str, enum=list(SORTS), description="newest by default."),
]
FILTER_NAMES = tuple(parameter.name for parameter in FILTERS)


class ImageChange(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=255, required=False, allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, help_text="All it shall have."
    )
    taken_at = serializers.DateTimeField(required=False, allow_null=True)
    metadata = serializers.DictField(required=False, help_text="Replaces what there was; 16 KB.")


class Removed(serializers.Serializer[Any]):
    changed = serializers.IntegerField()
    undo = serializers.CharField(help_text="POST here within a day to bring it back.")


def where_of(request: Request, values: Any) -> Any:
    """The collection that a filter names, or all visible ones."""
    if values.get("collection") in (None, ""):
        return selectors.collections_for(request.user).order_by()
    return selectors.collection_for(request.user, id_of(values["collection"], "collection"))


class ImagesView(UploadEndpoint):
    """Pictures: those there are, and new ones."""

    @extend_schema(
        operation_id="list_images",
        parameters=[*FILTERS, LIMIT, CURSOR, FIELDS],
        responses=shapes.ImagePage,
        tags=_TAG,
        description=(
            "Visible pictures, newest first, without their areas. The filters are those of the "
            "gallery's address; follow `next` as `cursor` until it is null."
        ),
    )
    def get(self, request: Request) -> Response:
        params: QueryDict = request.query_params
        wanted = sparse(request, shapes.LISTED_FIELDS)
        where = where_of(request, params)
        page = gallery_page(
            where, parse_filter(params), params.get("cursor"), limit=limit_of(request)
        )
        rows = shapes.images_json(page.images)
        return Response({"results": [only(row, wanted) for row in rows], "next": page.next})


def _taken_at(body: Any) -> Any:
    if "taken_at" not in body:
        return False
    value = body["taken_at"]
    if value is None:
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or is_naive(moment):
        raise FieldInvalid(
            "taken_at is a time with its zone, such as 2026-05-31T12:00:00Z.", field="taken_at"
        )
    return moment


class ImageView(APIView):
    """One picture: its record, a change, its removal."""

    parser_classes: tuple[type[BaseParser], ...] = (JSONParser,)

    @extend_schema(
        operation_id="get_image",
        parameters=[FIELDS, IF_NONE_MATCH],
        responses={200: shapes.SparseImageShape, 304: None},
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        wanted = sparse(request, shapes.IMAGE_FIELDS)
        body = shapes.image_json(selectors.image_for(request.user, pk))
        return conditional(request, only(body, wanted))

    @extend_schema(
        operation_id="change_image",
        parameters=[IF_MATCH],
        request=ImageChange,
        responses=shapes.ImageShape,
        tags=_TAG,
        examples=[
            OpenApiExample(
                "Title and tags",
                {"title": "Bridge in fog", "tags": ["fog", "bridge"]},
                request_only=True,
            )
        ],
    )
    def patch(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        image = selectors.image_for(request.user, pk)
        require_match(request, shapes.image_json(image))
        body = form_of(request)
        known(body, ImageChange().fields)
        editing.edit_image(
            request.user,
            image,
            title=text_of(body, "title", 255, least=0) if "title" in body else None,
            tags=names_of(body, "tags") if "tags" in body else None,
            taken_at=_taken_at(body),
            metadata=editing.checked_metadata(body["metadata"]) if "metadata" in body else None,
        )
        return with_etag(shapes.image_json(selectors.image_for(request.user, pk)))

    @extend_schema(
        operation_id="delete_image",
        parameters=[IF_MATCH],
        responses={200: Removed},
        tags=_TAG,
    )
    def delete(self, request: Request, pk: uuid.UUID) -> Response:
        image = selectors.image_for(request.user, pk)
        require_edit(request.user, image.collection)
        require_match(request, shapes.image_json(image))
        count, key = bulk.delete(request.user, Image.objects.filter(pk=image.pk))
        return Response({"changed": count, "undo": reverse("api:undo", args=[key])})
