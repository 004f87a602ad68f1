"""Endpoints of a picture's class map: PNG, COCO run lengths, polygons."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from retrieval import coco, selectors
from retrieval.api.base import IF_NONE_MATCH, conditional, etag_of, unchanged
from retrieval.api.image_formats import PngRenderer
from retrieval.errors import FieldInvalid, NotFound
from retrieval.models import Image, Mask, SemanticClass

_TAG = ["findings"]


class RunLengthShape(serializers.Serializer[Any]):
    size = serializers.ListField(
        child=serializers.IntegerField(), help_text="Height and width of the class map."
    )
    counts = serializers.JSONField(help_text="COCO's text, or with `counts=list` run lengths.")


class CocoAnnotation(serializers.Serializer[Any]):
    category_id = serializers.IntegerField(help_text="The class's index.")
    category = serializers.CharField()
    area = serializers.IntegerField(help_text="Pixels of the class map.")
    bbox = serializers.ListField(child=serializers.IntegerField(), help_text="x, y, width, height.")
    iscrowd = serializers.IntegerField()
    segmentation = RunLengthShape()


class CocoMask(serializers.Serializer[Any]):
    """A picture's classes as COCO annotations; run lengths go down the columns."""

    image = serializers.UUIDField()
    release = serializers.CharField()
    width_px = serializers.IntegerField(help_text="Of the class map: long side ≤ 512.")
    height_px = serializers.IntegerField()
    annotations = CocoAnnotation(many=True)


class PolygonAnnotation(serializers.Serializer[Any]):
    category_id = serializers.IntegerField()
    category = serializers.CharField()
    area = serializers.IntegerField()
    bbox = serializers.ListField(child=serializers.IntegerField())
    iscrowd = serializers.IntegerField()
    segmentation = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="Outer borders, each x1, y1, x2, y2, … in pixels of the class map.",
    )
    holes = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="Borders of what lies within and is another class; COCO has no place for them.",
    )


class PolygonMask(serializers.Serializer[Any]):
    """A picture's classes as polygons along pixel borders, exact to the pixel."""

    image = serializers.UUIDField()
    release = serializers.CharField()
    width_px = serializers.IntegerField()
    height_px = serializers.IntegerField()
    annotations = PolygonAnnotation(many=True)


def mask_of(image: Image) -> Mask:
    """The image's class map by the active release; NotFound before it is parsed."""
    rows = Mask.objects.filter(image=image, release__state="active").select_related("release")
    found = rows.first()
    if found is None:
        raise NotFound("The picture has no mask yet.")
    return found


class MaskView(APIView):
    """The class map as palette PNG: a pixel's value is its class's index."""

    renderer_classes = (PngRenderer,)

    @extend_schema(
        operation_id="get_mask",
        parameters=[IF_NONE_MATCH],
        responses={(200, "image/png"): OpenApiTypes.BINARY, 304: None},
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        png = bytes(mask_of(selectors.image_for(request.user, pk)).png)
        etag = etag_of(png)
        response = unchanged(request, etag) or HttpResponse(png, content_type="image/png")
        response["ETag"] = etag
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'"
        response["Cache-Control"] = "private, max-age=60"
        return response


def _annotated(mask: Mask, segmentation: Any) -> dict[str, Any]:
    """The answer with, for each class in the map, the fields that `segmentation(bool map)` gives."""
    names = dict(SemanticClass.objects.filter(release=mask.release).values_list("index", "name"))
    return {
        "image": str(mask.image_id),
        "release": mask.release.name,
        "width_px": mask.width_px,
        "height_px": mask.height_px,
        "annotations": [
            {"category_id": index, "category": names[index], **fields, **segmentation(binary)}
            for index, binary, fields in coco.class_masks(coco.class_map(bytes(mask.png)))
        ],
    }


class RunLengthView(APIView):
    """The class map as COCO run lengths."""

    @extend_schema(
        operation_id="get_mask_rle",
        parameters=[
            OpenApiParameter("counts", str, enum=["text", "list"], description="text by default."),
            IF_NONE_MATCH,
        ],
        responses={200: CocoMask, 304: None},
        tags=_TAG,
        examples=[
            OpenApiExample(
                "One class",
                {
                    "image": "019a2b5e-0000-7000-8000-000000000000",
                    "release": "starter",
                    "width_px": 4,
                    "height_px": 2,
                    "annotations": [
                        {
                            "category_id": 0,
                            "category": "sky",
                            "area": 8,
                            "bbox": [0, 0, 4, 2],
                            "iscrowd": 1,
                            "segmentation": {"size": [2, 4], "counts": "08"},
                        }
                    ],
                },
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        form = request.query_params.get("counts", "text")
        if form not in ("text", "list"):
            raise FieldInvalid("counts is text or list.", field="counts")

        def segmentation(binary: coco.Binary) -> dict[str, Any]:
            counts: Any = coco.run_lengths(binary)
            counts = counts if form == "list" else coco.compressed(counts)
            return {"segmentation": {"size": list(binary.shape), "counts": counts}}

        mask = mask_of(selectors.image_for(request.user, pk))
        return conditional(request, _annotated(mask, segmentation))


class PolygonsView(APIView):
    """The class map as polygons."""

    @extend_schema(
        operation_id="get_mask_polygons",
        parameters=[IF_NONE_MATCH],
        responses={200: PolygonMask, 304: None},
        tags=_TAG,
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        def segmentation(binary: coco.Binary) -> dict[str, Any]:
            outer, holes = coco.polygons(binary)
            return {"segmentation": outer, "holes": holes, "iscrowd": 0}

        mask = mask_of(selectors.image_for(request.user, pk))
        return conditional(request, _annotated(mask, segmentation))
