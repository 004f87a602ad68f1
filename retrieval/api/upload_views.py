"""Resumable uploads over HTTP, as any tus 1.0 client speaks it (tus-js-client, Uppy, tuspy)."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils.http import http_date
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import resumable, selectors
from retrieval.errors import FieldInvalid
from retrieval.models import Upload

_VERSION = "1.0.0"
_EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
_OFFSET_STREAM = "application/offset+octet-stream"


class _Untouched(BaseParser):
    """Leaves the body in the stream: a part is written to the disk as it comes."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return {}


def _number(request: Request, name: str) -> int:
    try:
        value = int(request.headers[name])
    except (KeyError, ValueError) as error:
        raise FieldInvalid(f"The header {name} is a whole number.", field=name) from error
    if value < 0:
        raise FieldInvalid(f"The header {name} is not negative.", field=name)
    return value


def _headers(upload: Upload) -> dict[str, str]:
    headers = {
        "Tus-Resumable": _VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Expires": http_date(upload.expires_at.timestamp()),
        "Cache-Control": "no-store",
    }
    if upload.image_id is not None:
        headers["Paysage-Image"] = str(upload.image_id)
        headers["Paysage-Created"] = "1" if upload.created else "0"
    return headers


def _tus(name: str, kind: Any, text: str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=text)


class UploadProgress(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    length = serializers.IntegerField(help_text="Bytes of the whole file.")
    offset = serializers.IntegerField(help_text="Bytes that are here.")
    image = serializers.UUIDField(allow_null=True, help_text="Once all is here.")
    created = serializers.BooleanField(allow_null=True, help_text="false: it was there already.")


class UploadsView(APIView):
    """Begin a resumable upload."""

    parser_classes = (_Untouched,)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        headers = {
            "Tus-Resumable": _VERSION,
            "Tus-Version": _VERSION,
            "Tus-Extension": _EXTENSIONS,
            "Tus-Max-Size": str(settings.MAX_UPLOAD_BYTES),
            "Tus-Checksum-Algorithm": ",".join(resumable.ALGORITHMS),
        }
        return Response(status=204, headers=headers)

    @extend_schema(
        operation_id="begin_upload",
        request=None,
        parameters=[
            _tus("Upload-Length", int, "Bytes of the whole file."),
            _tus(
                "Upload-Metadata",
                str,
                "`filename`, `collection` and, if wanted, `tags` and `sha256`, in base64 each.",
            ),
        ],
        responses={201: None},
    )
    def post(self, request: Request) -> Response:
        values = resumable.parse_metadata(request.headers.get("Upload-Metadata", ""))
        try:
            pk = int(values.get("collection", ""))
        except ValueError as error:
            raise FieldInvalid(
                "Upload-Metadata needs `collection`, a collection's id.", field="collection"
            ) from error
        upload = resumable.begin(
            request.user,
            selectors.collection_for(request.user, pk),
            _number(request, "Upload-Length"),
            values.get("filename", ""),
            [name for name in values.get("tags", "").split(",") if name.strip()],
            values.get("sha256", ""),
        )
        if request.headers.get("Content-Type", "").startswith(_OFFSET_STREAM):
            upload = resumable.receive(upload, 0, request._request)
        location = reverse("api:upload_part", args=[upload.pk])
        return Response(status=201, headers={**_headers(upload), "Location": location})


class UploadView(APIView):
    """Go on with an upload, ask how far it is, give it up."""

    parser_classes = (_Untouched,)

    @extend_schema(operation_id="get_upload", responses=UploadProgress)
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        upload = resumable.upload_for(request.user, pk)
        image = str(upload.image_id) if upload.image_id else None
        body = {
            "id": str(upload.pk),
            "length": upload.length,
            "offset": upload.offset,
            "image": image,
            "created": upload.created if image else None,
        }
        return Response(body, headers=_headers(upload))

    @extend_schema(operation_id="head_upload", responses={200: None})
    def head(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        upload = resumable.upload_for(request.user, pk)
        return HttpResponse(headers={**_headers(upload), "Upload-Length": str(upload.length)})

    @extend_schema(
        operation_id="continue_upload",
        request={_OFFSET_STREAM: OpenApiTypes.BINARY},
        parameters=[
            _tus("Upload-Offset", int, "Where this part begins."),
            _tus("Upload-Checksum", str, "`sha1` or `sha256`, a space, base64 digest of the part."),
        ],
        responses={204: None},
    )
    def patch(self, request: Request, pk: uuid.UUID) -> Response:
        if not request.headers.get("Content-Type", "").startswith(_OFFSET_STREAM):
            raise FieldInvalid(f"Parts are sent as {_OFFSET_STREAM}.", field="Content-Type")
        upload = resumable.receive(
            resumable.upload_for(request.user, pk),
            _number(request, "Upload-Offset"),
            request._request,
            request.headers.get("Upload-Checksum", ""),
        )
        return Response(status=204, headers=_headers(upload))

    @extend_schema(operation_id="give_up_upload", responses={204: None})
    def delete(self, request: Request, pk: uuid.UUID) -> Response:
        resumable.drop(resumable.upload_for(request.user, pk))
        return Response(status=204, headers={"Tus-Resumable": _VERSION})
