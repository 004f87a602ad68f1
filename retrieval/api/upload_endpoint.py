"""Uploading pictures: one, many, or a ZIP of them; done once for each Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest
from django.urls import reverse
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import archives, idempotency, selectors, services
from retrieval.api import serializers as shapes
from retrieval.api.base import form_of, id_of
from retrieval.api.errors import body as error_body
from retrieval.archives import Entry
from retrieval.errors import FieldInvalid, FileRequired, RetrievalError
from retrieval.idempotency import Reply
from retrieval.models import Collection
from retrieval.permissions import require_edit
from retrieval.upload import Stored
from retrieval.upload_handlers import ArchiveUploadHandler, LimitedTemporaryFileHandler

MAX_FILES = 100
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description=(
        "Any text of your own, new for each upload. The same key within 24 hours gives the same "
        "answer and stores nothing again; with another content it is refused (422)."
    ),
)


class UploadRequest(serializers.Serializer[Any]):
    file = shapes.Bytes(
        help_text="JPEG, PNG or WebP; may be repeated, and then the answer is a list of results."
    )
    collection = serializers.IntegerField()
    tags = serializers.CharField(required=False, allow_blank=True, help_text="Tags, by comma.")


class ArchiveRequest(serializers.Serializer[Any]):
    file = shapes.Bytes(help_text="A ZIP of JPEG, PNG and WebP files.")
    collection = serializers.IntegerField()
    tags = serializers.CharField(required=False, allow_blank=True, help_text="Tags, by comma.")


class EntryShape(serializers.Serializer[Any]):
    name = serializers.CharField(allow_blank=True)
    image = shapes.SparseImageShape(allow_null=True)
    created = serializers.BooleanField(help_text="false: the collection had it already.")
    error = serializers.DictField(allow_null=True, help_text="As in `Error.error`.")


class UploadResults(serializers.Serializer[Any]):
    """What became of each file."""

    created = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    refused = serializers.IntegerField()
    results = EntryShape(many=True)


_ONE_OR_MANY = PolymorphicProxySerializer(
    "ImageOrResults", [shapes.ImageShape, UploadResults], resource_type_field_name=None
)


def _results(entries: list[Entry], request: Request) -> Reply:
    images = [entry.image for entry in entries if entry.image is not None]
    records = {row["id"]: row for row in shapes.images_json(images)}
    rows = [
        {
            "name": entry.name,
            "image": records[str(entry.image.pk)] if entry.image else None,
            "created": entry.created,
            "error": _error(entry.error, request),
        }
        for entry in entries
    ]
    created = sum(entry.created for entry in entries)
    refused = sum(entry.image is None for entry in entries)
    body = {
        "created": created,
        "duplicates": len(entries) - created - refused,
        "refused": refused,
        "results": rows,
    }
    return Reply(201 if created else 200, body)


def _error(error: RetrievalError | None, request: Request) -> Any:
    return error and error_body(error.code, error.message, error.field, request)["error"]


class _Form(APIView):
    """Reads the form of an upload and keeps its answer under its key."""

    parser_classes = (MultiPartParser,)
    handler: type[TemporaryFileUploadHandler] = LimitedTemporaryFileHandler

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Before anything reads the form, as the check against forged posts of sessions does.
        if request.method == "POST":
            request.upload_handlers = [self.handler(request)]
        return super().initialize_request(request, *args, **kwargs)

    def files(self, request: Request) -> list[Any]:
        found = request.FILES.getlist("file")
        if not found:
            raise FileRequired("Send the picture as the form field `file`.", field="file")
        if len(found) > MAX_FILES:
            raise FieldInvalid(f"At most {MAX_FILES} files at once; or send a ZIP.", field="file")
        return found

    def collection(self, request: Request) -> Collection:
        pk = id_of(form_of(request).get("collection"), "collection")
        return selectors.collection_for(request.user, pk)

    def tags(self, request: Request) -> list[str]:
        found = [name.strip() for name in str(form_of(request).get("tags", "")).split(",")]
        if any(len(name) > 80 or "\0" in name for name in found):
            raise FieldInvalid("A tag has at most 80 characters.", field="tags")
        return found

    def once(self, request: Request, files: list[Any], work: Callable[[], Reply]) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            reply = work()
        else:
            fields = [(k, str(form_of(request).get(k, ""))) for k in ("collection", "tags")]
            print_ = idempotency.fingerprint([*fields, ("path", request.path)], files)
            reply = idempotency.once(request.user, key, print_, work)
        headers = {"Location": reply.location} if reply.location else {}
        if reply.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(reply.body, reply.status, headers=headers)


class UploadEndpoint(_Form):
    """POST of pictures."""

    @extend_schema(
        operation_id="upload_image",
        parameters=[IDEMPOTENCY_KEY],
        request={"multipart/form-data": UploadRequest},
        responses={200: _ONE_OR_MANY, 201: _ONE_OR_MANY},
        tags=["images"],
        description=(
            "201 with the picture's record; 200 when the collection has the same file already. "
            "With several files the answer says of each what became of it."
        ),
    )
    def post(self, request: Request) -> Response:
        files = self.files(request)
        collection, tags = self.collection(request), self.tags(request)
        if len(files) > 1:
            return self.once(request, files, lambda: self._many(request, collection, files, tags))

        def work() -> Reply:
            stored = self._store(request, collection, files[0], tags)
            location = reverse("api:image", args=[stored.image.pk])
            body = shapes.image_json(stored.image)
            return Reply(201 if stored.created else 200, body, location)

        return self.once(request, files, work)

    def _store(self, request: Request, collection: Collection, file: Any, tags: Any) -> Stored:
        return services.upload_image(request.user, collection, file, file.name or "", tags)

    def _many(
        self, request: Request, collection: Collection, files: list[Any], tags: list[str]
    ) -> Reply:
        require_edit(request.user, collection)
        entries = []
        for file in files:
            try:
                stored = self._store(request, collection, file, tags)
                entries.append(Entry(file.name or "", stored.image, stored.created))
            except RetrievalError as error:
                if error.http_status >= 500:
                    raise
                entries.append(Entry(file.name or "", error=error))
        return _results(entries, request)


class ArchivesView(_Form):
    """POST of a ZIP."""

    handler = ArchiveUploadHandler

    @extend_schema(
        operation_id="upload_archive",
        parameters=[IDEMPOTENCY_KEY],
        request={"multipart/form-data": ArchiveRequest},
        responses={200: UploadResults, 201: UploadResults},
        tags=["images"],
        description=(
            "Every file of the ZIP becomes a picture, or is refused with its reason. A ZIP that "
            "is dangerous (names that point outside, links, archives within, lying or too large "
            "sizes, too many entries) is refused as a whole with 422 and nothing of it is kept."
        ),
        examples=[
            OpenApiExample(
                "Two of three",
                {"created": 2, "duplicates": 0, "refused": 1, "results": []},
                response_only=True,
                status_codes=["201"],
            )
        ],
    )
    def post(self, request: Request) -> Response:
        files = self.files(request)[:1]
        collection, tags = self.collection(request), self.tags(request)

        def work() -> Reply:
            entries = archives.store_archive(request.user, collection, files[0].file, tags)
            return _results(entries, request)

        return self.once(request, files, work)
