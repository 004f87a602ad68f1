"""Shapes of the API's answers and requests."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from rest_framework import serializers

from retrieval.models import Collection, Image
from retrieval.search import Answer
from retrieval.selectors import analysis_of, areas_of


class TokenRequest(serializers.Serializer[Any]):
    username = serializers.CharField()
    password = serializers.CharField()
    name = serializers.CharField(default="API")
    scope = serializers.ChoiceField(choices=("read", "write"), default="write")


class TokenAnswer(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Shown once.")


class CollectionShape(serializers.ModelSerializer[Collection]):
    class Meta:
        model = Collection
        fields = ("id", "name", "visibility", "created_at")
        read_only_fields = ("id", "created_at")


class AnalysisShape(serializers.Serializer[Any]):
    state = serializers.CharField()
    error_code = serializers.CharField(allow_null=True)
    error_detail = serializers.CharField(allow_null=True)
    attempts = serializers.IntegerField()
    release = serializers.CharField()


class ImageShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    collection = serializers.IntegerField()
    title = serializers.CharField()
    width_px = serializers.IntegerField()
    height_px = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    format = serializers.CharField()
    rendered = serializers.BooleanField()
    tags = serializers.ListField(child=serializers.CharField())
    analysis = AnalysisShape(allow_null=True)
    areas = serializers.DictField(child=serializers.FloatField())
    links = serializers.DictField(child=serializers.CharField())


class UploadRequest(serializers.Serializer[Any]):
    file = serializers.FileField()
    collection = serializers.IntegerField()
    tags = serializers.CharField(required=False, help_text="Tags, by comma.")


class SearchRequest(serializers.Serializer[Any]):
    query = serializers.JSONField(required=False, help_text="See docs/search.md.")
    file = serializers.FileField(required=False, help_text="A picture to search with.")


class HitShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    score = serializers.FloatField()
    parts = serializers.DictField(child=serializers.FloatField())
    percentiles = serializers.DictField(child=serializers.FloatField(allow_null=True))
    regions = serializers.ListField(child=serializers.DictField())
    links = serializers.DictField(child=serializers.CharField())


class SearchAnswer(serializers.Serializer[Any]):
    plan = serializers.DictField()
    cursor = serializers.CharField(allow_null=True, help_text="Of the next page; null at the end.")
    results = HitShape(many=True)


def links_of(image: Image) -> dict[str, str]:
    """Where the image's record and pictures are."""
    pk = image.pk
    return {
        "self": reverse("api:image", args=[pk]),
        "mask": reverse("api:mask", args=[pk]),
        "thumb": reverse("thumb", args=[pk, 256]),
        "page": reverse("image", args=[pk]),
    }


def image_json(image: Image, full: bool = True) -> dict[str, Any]:
    """The `ImageShape` of an image; `full` adds areas and tags."""
    analysis = analysis_of(image)
    areas = {}
    if full and analysis and analysis.state == "done":
        areas = {c.name: round(share, 5) for c, share in areas_of(image, analysis.release)}
    return {
        "id": str(image.pk),
        "collection": image.collection_id,
        "title": image.title,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "size_bytes": image.size_bytes,
        "format": image.format,
        "rendered": image.rendered,
        "tags": sorted(tag.name for tag in image.tags.all()),
        "analysis": analysis
        and {
            "state": analysis.state,
            "error_code": analysis.error_code or None,
            "error_detail": analysis.error_detail or None,
            "attempts": analysis.attempts,
            "release": analysis.release.name,
        },
        "areas": areas,
        "links": links_of(image),
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """The `SearchAnswer` of an answer."""
    return {
        "plan": answer.plan,
        "cursor": answer.cursor,
        "results": [
            {
                "id": str(hit.image.pk),
                "title": hit.image.title,
                "score": hit.score,
                "parts": dict(hit.parts),
                "percentiles": dict(hit.percentiles),
                "regions": [matched.to_json() for matched in hit.regions],
                "links": links_of(hit.image),
            }
            for hit in answer.hits
        ],
    }
