"""The REST API's endpoints: thin; services write, selectors and search read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import authenticate
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

from retrieval import selectors, services
from retrieval.api import serializers as shapes
from retrieval.errors import FieldInvalid, FileRequired, NotFound, NotSignedIn
from retrieval.models import Mask
from retrieval.upload import active_release

PAGE = 100


class SignInThrottle(AnonRateThrottle):
    scope = "sign_in"


class TokenView(APIView):
    """A token for name and password."""

    permission_classes = (AllowAny,)
    authentication_classes = ()
    throttle_classes = (SignInThrottle,)

    @extend_schema(
        request=shapes.TokenRequest, responses={201: shapes.TokenAnswer}, operation_id="sign_in"
    )
    def post(self, request: Request) -> Response:
        asked = shapes.TokenRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        user = authenticate(request, username=values["username"], password=values["password"])
        if user is None:
            raise NotSignedIn("Name or password is wrong.")
        return Response(
            {"token": services.create_token(user, values["name"], values["scope"])}, 201
        )


class CollectionsView(APIView):
    """Visible collections; new ones."""

    @extend_schema(responses=shapes.CollectionShape(many=True), operation_id="list_collections")
    def get(self, request: Request) -> Response:
        found = selectors.collections_for(request.user)
        return Response(shapes.CollectionShape(found, many=True).data)

    @extend_schema(
        request=shapes.CollectionShape,
        responses={201: shapes.CollectionShape},
        operation_id="create_collection",
    )
    def post(self, request: Request) -> Response:
        name, visibility = (
            form_of(request).get("name", ""),
            form_of(request).get("visibility", "private"),
        )
        made = services.create_collection(request.user, str(name), str(visibility))
        return Response(shapes.CollectionShape(made).data, 201)


class ImagesView(APIView):
    """Upload one picture; list pictures."""

    parser_classes = (MultiPartParser,)

    @extend_schema(
        parameters=[
            OpenApiParameter("collection", int),
            OpenApiParameter("after", OpenApiTypes.UUID),
        ],
        responses=shapes.ImageShape(many=True),
        operation_id="list_images",
    )
    def get(self, request: Request) -> Response:
        images = selectors.images_for(request.user).filter(collection__kind="normal")
        if collection := request.query_params.get("collection"):
            images = images.filter(
                collection=selectors.collection_for(request.user, _pk(collection))
            )
        if after := request.query_params.get("after"):
            images = images.filter(pk__lt=selectors.image_for(request.user, after).pk)
        page = images.prefetch_related("tags")[:PAGE]
        return Response([shapes.image_json(image, full=False) for image in page])

    @extend_schema(
        request={"multipart/form-data": shapes.UploadRequest},
        responses={200: shapes.ImageShape, 201: shapes.ImageShape},
        operation_id="upload_image",
    )
    def post(self, request: Request) -> Response:
        file = request.FILES.get("file")
        if file is None:
            raise FileRequired("Send the picture as the form field `file`.", field="file")
        collection = selectors.collection_for(request.user, _pk(form_of(request).get("collection")))
        tags = str(form_of(request).get("tags", "")).split(",")
        stored = services.upload_image(request.user, collection, file, file.name or "", tags)
        body = shapes.image_json(stored.image)
        location = {"Location": reverse("api:image", args=[stored.image.pk])}
        return Response(body, 201 if stored.created else 200, headers=location)


def form_of(request: Request) -> Mapping[str, Any]:
    """The body's fields; FieldInvalid when it is no object."""
    if not isinstance(request.data, Mapping):
        raise FieldInvalid("The body must be an object of fields.")
    return request.data


def _pk(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise FieldInvalid("collection must be a collection's id.", field="collection") from error


class ImageView(APIView):
    """One picture: its record, or its removal."""

    @extend_schema(responses=shapes.ImageShape, operation_id="get_image")
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        return Response(shapes.image_json(selectors.image_for(request.user, pk)))

    @extend_schema(responses={204: None}, operation_id="delete_image")
    def delete(self, request: Request, pk: uuid.UUID) -> Response:
        services.delete_images(request.user, [selectors.image_for(request.user, pk)])
        return Response(status=204)


class MaskView(APIView):
    """The class map as palette PNG."""

    @extend_schema(responses={(200, "image/png"): OpenApiTypes.BINARY}, operation_id="get_mask")
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        image = selectors.image_for(request.user, pk)
        mask = Mask.objects.filter(image=image, release__state="active").first()
        if mask is None:
            raise NotFound("The picture has no mask yet.")
        response = HttpResponse(bytes(mask.png), content_type="image/png")
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'"
        response["Cache-Control"] = "private, max-age=60"
        return response


class ClassesView(APIView):
    """Classes of the active release."""

    @extend_schema(responses=OpenApiTypes.OBJECT, operation_id="list_classes")
    def get(self, request: Request) -> Response:
        return Response(
            [
                {"index": c.index, "name": c.name, "name_zh": c.name_zh, "colour": c.colour}
                for c in selectors.classes_of(active_release())
            ]
        )
