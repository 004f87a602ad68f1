"""Endpoints that change many pictures at once, by ids or by filter, and bring deleted ones back."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import bulk, selectors
from retrieval.api.base import choice_of, form_of, id_of, known, names_of
from retrieval.api.image_views import FILTER_NAMES, where_of
from retrieval.errors import FieldInvalid
from retrieval.gallery import filtered, parse_filter
from retrieval.models import Image

ACTIONS = ("tag", "move", "parse", "delete")


class BulkRequest(serializers.Serializer[Any]):
    action = serializers.ChoiceField(choices=ACTIONS)
    ids = serializers.ListField(
        child=serializers.UUIDField(), required=False, help_text=f"At most {bulk.MAX_IDS}."
    )
    filter = serializers.DictField(
        required=False,
        help_text="Instead of ids: the filters of `GET /images` as an object; needs `collection`.",
    )
    add = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, help_text="tag: new tags"
    )
    remove = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, help_text="tag: tags to take"
    )
    to = serializers.IntegerField(required=False, help_text="move: the collection to move to")


class BulkAnswer(serializers.Serializer[Any]):
    changed = serializers.IntegerField()
    duplicates = serializers.IntegerField(
        required=False, help_text="move: pictures that stayed, as the target has the same file"
    )
    undo = serializers.CharField(required=False, help_text="delete: POST here to bring them back")


class Restored(serializers.Serializer[Any]):
    changed = serializers.IntegerField()


def chosen(request: Request, body: Mapping[str, Any]) -> QuerySet[Image]:
    """The pictures that a body names by `ids` or by `filter`."""
    if ("ids" in body) == ("filter" in body):
        raise FieldInvalid("Name pictures by ids or by filter.", field="ids")
    if "ids" in body:
        if not isinstance(body["ids"], list) or not body["ids"]:
            raise FieldInvalid("ids is a list of ids of pictures.", field="ids")
        return bulk.chosen(request.user, body["ids"])
    asked = body["filter"]
    if not isinstance(asked, dict):
        raise FieldInvalid("filter is an object.", field="filter")
    known(asked, FILTER_NAMES)
    if "collection" not in asked:  # a slip must not reach everything that one may change
        raise FieldInvalid("A filter for changes names its collection.", field="filter")
    return filtered(where_of(request, asked), parse_filter(asked))


class BulkView(APIView):
    """Tag, move, parse again or delete many pictures."""

    @extend_schema(
        operation_id="change_images",
        request=BulkRequest,
        responses=BulkAnswer,
        tags=["images"],
        description=(
            "Changes those of the named pictures that the caller may change, and says how many. "
            "What is deleted can be brought back for a day."
        ),
        examples=[
            OpenApiExample(
                "Tag what is mostly sky",
                {
                    "action": "tag",
                    "filter": {"collection": 1, "class": "sky", "min": 60},
                    "add": ["open"],
                },
                request_only=True,
            ),
            OpenApiExample(
                "Delete one",
                {"action": "delete", "ids": ["019a2b5e-0000-7000-8000-000000000000"]},
                request_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        body = form_of(request)
        known(body, BulkRequest().fields)
        action = choice_of(body, "action", ACTIONS)
        images = chosen(request, body)
        if action == "tag":
            add, remove = names_of(body, "add"), names_of(body, "remove")
            return Response({"changed": bulk.tag(request.user, images, add, remove)})
        if action == "move":
            target = selectors.collection_for(request.user, id_of(body.get("to"), "to"))
            moved = bulk.move(request.user, images, target)
            return Response({"changed": moved.moved, "duplicates": moved.duplicates})
        if action == "parse":
            return Response({"changed": bulk.parse_again(request.user, images)})
        count, key = bulk.delete(request.user, images)
        return Response({"changed": count, "undo": reverse("api:undo", args=[key])})


class UndoView(APIView):
    """Bring back what one deletion of the caller's hid."""

    @extend_schema(operation_id="undo_deletion", request=None, responses=Restored, tags=["images"])
    def post(self, request: Request, key: uuid.UUID) -> Response:
        return Response({"changed": bulk.restore(request.user, key)})
