"""Shapes of the API's answers and requests."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.urls import get_script_prefix, reverse
from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from retrieval.models import Analysis, ClassArea, Image, ImageTag, SemanticClass
from retrieval.search import Answer


def named(name: str, fields: dict[str, Any]) -> type[serializers.Serializer[Any]]:
    """A shape whose fields have names that are Python's own words, such as `class` and `from`."""
    return type(inline_serializer(name, fields))


@extend_schema_field({"type": "string", "format": "binary"})
class Bytes(serializers.FileField):
    """A file of a form, which a schema would take for an address otherwise."""


class AnalysisShape(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=Analysis.State.values)
    error_code = serializers.CharField(allow_null=True)
    error_detail = serializers.CharField(allow_null=True)
    attempts = serializers.IntegerField()
    release = serializers.CharField()
    queued_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class ImageShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    collection = serializers.IntegerField()
    title = serializers.CharField(allow_blank=True)
    width_px = serializers.IntegerField()
    height_px = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    format = serializers.ChoiceField(choices=Image.Format.values)
    sha256 = serializers.CharField()
    rendered = serializers.BooleanField()
    taken_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    metadata = serializers.DictField()
    tags = serializers.ListField(child=serializers.CharField())
    analysis = AnalysisShape(allow_null=True, help_text="By the active release.")
    areas = serializers.DictField(
        child=serializers.FloatField(), help_text="Share of each class; absent in lists."
    )
    links = serializers.DictField(child=serializers.CharField())


class SparseImageShape(ImageShape):
    """An `Image`, or those of its fields that were asked for."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields


class ImagePage(serializers.Serializer[Any]):
    results = SparseImageShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="Cursor of the next page.")


IMAGE_FIELDS = tuple(ImageShape().fields)
LISTED_FIELDS = tuple(name for name in IMAGE_FIELDS if name != "areas")


class SearchRequest(serializers.Serializer[Any]):
    query = serializers.JSONField(required=False, help_text="See docs/search.md.")
    file = Bytes(required=False, help_text="A picture to search with.")


MatchedRegion = named(
    "MatchedRegion",
    {
        "example": serializers.IntegerField(help_text="Which region or box of the query."),
        "number": serializers.IntegerField(),
        "class": serializers.CharField(),
        "area": serializers.FloatField(),
        "box": serializers.ListField(child=serializers.FloatField()),
        "similarity": serializers.FloatField(),
    },
)


class HitShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    score = serializers.FloatField()
    parts = serializers.DictField(child=serializers.FloatField())
    percentiles = serializers.DictField(child=serializers.FloatField(allow_null=True))
    regions = MatchedRegion(many=True)
    links = serializers.DictField(child=serializers.CharField())


_Recall = named(
    "Recall",
    {
        "at_10": serializers.FloatField(help_text="Share of the 10 nearest that are found."),
        "of": serializers.CharField(help_text="Kind of query: a space, default, painted, region."),
        "measured_at": serializers.DateTimeField(),
    },
)


class PlanShape(serializers.Serializer[Any]):
    """How the answer was found; docs/search.md says more."""

    kind = serializers.ChoiceField(choices=("exact", "index", "sql"))
    matching = serializers.IntegerField()
    matching_is_lower_bound = serializers.BooleanField()
    compared = serializers.IntegerField()
    release = serializers.CharField()
    metric = serializers.CharField()
    rank = serializers.DictField(child=serializers.FloatField())
    recall = _Recall(
        allow_null=True, help_text="Of an index; null for a kind of query that was not measured."
    )
    ms = serializers.FloatField()


class SearchAnswer(serializers.Serializer[Any]):
    plan = PlanShape()
    cursor = serializers.CharField(allow_null=True, help_text="Of the next page; null at the end.")
    results = HitShape(many=True)


_NOBODY = uuid.UUID(int=0)


@lru_cache(maxsize=8)
def _link_patterns(prefix: str) -> dict[str, str]:
    """Each link of the image `_NOBODY`: looking seven routes up for each row of a page is slow."""
    names = ("mask", "areas", "regions", "similar")
    return {
        "self": reverse("api:image", args=[_NOBODY]),
        **{name: reverse(f"api:{name}", args=[_NOBODY]) for name in names},
        "thumb": reverse("thumb", args=[_NOBODY, 256]),
        "page": reverse("image", args=[_NOBODY]),
    }


def links_of(image: Image) -> dict[str, str]:
    """Where the image's record and pictures are."""
    nobody, pk = str(_NOBODY), str(image.pk)
    patterns = _link_patterns(get_script_prefix())
    return {name: pattern.replace(nobody, pk) for name, pattern in patterns.items()}


def analysis_json(analysis: Analysis | None) -> dict[str, Any] | None:
    """The `AnalysisShape` of an analysis with its release."""
    if analysis is None:
        return None
    return {
        "state": analysis.state,
        "error_code": analysis.error_code or None,
        "error_detail": analysis.error_detail or None,
        "attempts": analysis.attempts,
        "release": analysis.release.name,
        "queued_at": analysis.queued_at,
        "finished_at": analysis.finished_at,
    }


def images_json(images: Sequence[Image], full: bool = False) -> list[dict[str, Any]]:
    """The `ImageShape` of each image, in three queries; `full` adds the areas with two more."""
    pks = [image.pk for image in images]
    rows = Analysis.objects.filter(image__in=pks, release__state="active")
    analyses = {row.image_id: row for row in rows.select_related("release")}
    tags: dict[Any, list[str]] = {}
    for pk, name in ImageTag.objects.filter(image__in=pks).values_list("image_id", "tag__name"):
        tags.setdefault(pk, []).append(name)
    areas = areas_of_images(images) if full else {}
    return [
        {
            "id": str(image.pk),
            "collection": image.collection_id,
            "title": image.title,
            "width_px": image.width_px,
            "height_px": image.height_px,
            "size_bytes": image.size_bytes,
            "format": image.format,
            "sha256": image.sha256,
            "rendered": image.rendered,
            "taken_at": image.taken_at,
            "created_at": image.created_at,
            "metadata": image.metadata,
            "tags": sorted(tags.get(image.pk, [])),
            "analysis": analysis_json(analyses.get(image.pk)),
            **({"areas": areas.get(image.pk, {})} if full else {}),
            "links": links_of(image),
        }
        for image in images
    ]


def areas_of_images(images: Sequence[Image]) -> dict[Any, dict[str, float]]:
    """Share of each class by name, largest first, for each parsed image by id."""
    names = dict(SemanticClass.objects.filter(release__state="active").values_list("index", "name"))
    rows = ClassArea.objects.filter(
        image__in=[image.pk for image in images], release__state="active"
    ).order_by("-fraction")
    found: dict[Any, dict[str, float]] = {}
    for pk, index, share in rows.values_list("image_id", "class_index", "fraction"):
        found.setdefault(pk, {})[names[index]] = round(share, 5)
    return found


def image_json(image: Image, full: bool = True) -> dict[str, Any]:
    """The `ImageShape` of one image."""
    return images_json([image], full)[0]


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
