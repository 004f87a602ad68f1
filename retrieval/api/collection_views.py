"""Endpoints of collections and their members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import selectors, services, sharing
from retrieval.api.base import CURSOR, FIELDS, LIMIT, form_of, known, only, page_of, sparse, text_of
from retrieval.models import Collection, Membership

_VISIBILITIES = Collection.Visibility.values
_TAG = ["collections"]


class CollectionRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    visibility = serializers.ChoiceField(choices=_VISIBILITIES, default="private")


class CollectionChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    visibility = serializers.ChoiceField(choices=_VISIBILITIES, required=False)


class ProgressShape(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    waiting = serializers.IntegerField()
    refused = serializers.IntegerField()
    per_minute = serializers.IntegerField()


class CollectionShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    visibility = serializers.ChoiceField(choices=_VISIBILITIES)
    owner = serializers.CharField()
    role = serializers.CharField(
        allow_null=True, help_text="The caller's: owner, manager, editor, viewer, or null."
    )
    created_at = serializers.DateTimeField()
    progress = ProgressShape(help_text="Of the parsing by the active release.")


class SparseCollectionShape(CollectionShape):
    """A `Collection`, or those of its fields that were asked for."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields


class CollectionPage(serializers.Serializer[Any]):
    results = SparseCollectionShape(many=True)
    next = serializers.CharField(allow_null=True)


class MemberShape(serializers.Serializer[Any]):
    username = serializers.CharField()
    role = serializers.ChoiceField(choices=Membership.Role.values)


class MemberPage(serializers.Serializer[Any]):
    results = MemberShape(many=True)
    next = serializers.CharField(allow_null=True)


class RoleRequest(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Membership.Role.values)


def collections_json(rows: Sequence[Collection], user: Any) -> list[dict[str, Any]]:
    """The `CollectionShape` of each, in two queries."""
    progress = selectors.progress_of_all(rows)
    mine = Membership.objects.filter(user=user, collection__in=[row.pk for row in rows])
    roles = dict(mine.values_list("collection_id", "role"))
    return [
        {
            "id": row.pk,
            "name": row.name,
            "visibility": row.visibility,
            "owner": row.owner.get_username(),
            "role": "owner" if row.owner_id == user.pk else roles.get(row.pk),
            "created_at": row.created_at,
            "progress": ProgressShape(progress[row.pk]).data,
        }
        for row in rows
    ]


class CollectionsView(APIView):
    """Visible collections; new ones."""

    @extend_schema(
        operation_id="list_collections",
        parameters=[LIMIT, CURSOR, FIELDS],
        responses=CollectionPage,
        tags=_TAG,
    )
    def get(self, request: Request) -> Response:
        wanted = sparse(request, CollectionShape().fields)

        def shape(rows: list[Collection]) -> list[dict[str, Any]]:
            return [only(body, wanted) for body in collections_json(rows, request.user)]

        # By id below a subquery: what is visible is DISTINCT over a join, which cannot be paged.
        visible = selectors.collections_for(request.user).order_by().values("pk")
        found = Collection.objects.filter(pk__in=visible).select_related("owner")
        return Response(page_of(found, request, ["name", "id"], shape))

    @extend_schema(
        operation_id="create_collection",
        request=CollectionRequest,
        responses={201: CollectionShape},
        tags=_TAG,
        examples=[OpenApiExample("Private", {"name": "Spring 2026"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        body = form_of(request)
        known(body, ("name", "visibility"))
        visibility = str(body.get("visibility", "private"))
        made = services.create_collection(request.user, text_of(body, "name", 120), visibility)
        return Response(collections_json([made], request.user)[0], 201)


class CollectionView(APIView):
    """One collection."""

    @extend_schema(operation_id="get_collection", responses=CollectionShape, tags=_TAG)
    def get(self, request: Request, pk: int) -> Response:
        found = selectors.collection_for(request.user, pk)
        return Response(collections_json([found], request.user)[0])

    @extend_schema(
        operation_id="change_collection",
        request=CollectionChange,
        responses=CollectionShape,
        tags=_TAG,
    )
    def patch(self, request: Request, pk: int) -> Response:
        found = selectors.collection_for(request.user, pk)
        body = form_of(request)
        known(body, ("name", "visibility"))
        name = text_of(body, "name", 120) if "name" in body else None
        visibility = str(body["visibility"]) if "visibility" in body else None
        sharing.change_collection(request.user, found, name, visibility)
        return Response(collections_json([found], request.user)[0])

    @extend_schema(operation_id="delete_collection", responses={204: None}, tags=_TAG)
    def delete(self, request: Request, pk: int) -> Response:
        sharing.remove_collection(request.user, selectors.collection_for(request.user, pk))
        return Response(status=204)


def _member_json(row: Membership) -> dict[str, Any]:
    return {"username": row.user.get_username(), "role": row.role}


class MembersView(APIView):
    """Who else has a part in a collection; for those who manage it."""

    @extend_schema(
        operation_id="list_members",
        parameters=[LIMIT, CURSOR],
        responses=MemberPage,
        tags=_TAG,
    )
    def get(self, request: Request, pk: int) -> Response:
        rows = sharing.members_of(request.user, selectors.collection_for(request.user, pk))
        return Response(page_of(rows, request, ["id"], lambda page: list(map(_member_json, page))))


class MemberView(APIView):
    """One person's part in a collection."""

    @extend_schema(
        operation_id="set_member",
        request=RoleRequest,
        responses={200: MemberShape, 201: MemberShape},
        tags=_TAG,
        examples=[OpenApiExample("May change pictures", {"role": "editor"}, request_only=True)],
    )
    def put(self, request: Request, pk: int, username: str) -> Response:
        body = form_of(request)
        known(body, ("role",))
        collection = selectors.collection_for(request.user, pk)
        role = str(body.get("role", ""))
        member, made = sharing.set_member(request.user, collection, username, role)
        return Response(_member_json(member), 201 if made else 200)

    @extend_schema(operation_id="remove_member", responses={204: None}, tags=_TAG)
    def delete(self, request: Request, pk: int, username: str) -> Response:
        collection = selectors.collection_for(request.user, pk)
        sharing.remove_member(request.user, collection, username)
        return Response(status=204)
