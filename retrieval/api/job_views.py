"""Endpoints of what runs, waits and failed."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import jobs, selectors
from retrieval.api import serializers as shapes
from retrieval.api.base import CURSOR, LIMIT, form_of, id_of, known, page_of
from retrieval.errors import FieldInvalid
from retrieval.models import Analysis

_TAG = ["jobs"]
_MAX_IDS = 10_000
_FILTERS = [
    OpenApiParameter("collection", int),
    OpenApiParameter("state", str, enum=list(Analysis.State.values)),
    OpenApiParameter("code", str, description="An error's code."),
]


class JobShape(shapes.AnalysisShape):
    id = serializers.IntegerField()
    image = serializers.UUIDField()
    title = serializers.CharField(allow_blank=True)
    collection = serializers.IntegerField()
    worker = serializers.CharField(allow_blank=True)


class JobPage(serializers.Serializer[Any]):
    results = JobShape(many=True)
    next = serializers.CharField(allow_null=True)


class ReasonShape(serializers.Serializer[Any]):
    error_code = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    n = serializers.IntegerField()


class SummaryShape(serializers.Serializer[Any]):
    counts = serializers.DictField(child=serializers.IntegerField())
    waiting = serializers.IntegerField()
    per_minute = serializers.IntegerField()
    oldest_wait_s = serializers.FloatField(allow_null=True)
    remaining_s = serializers.FloatField(allow_null=True)
    reasons = ReasonShape(many=True)


class JobRetryRequest(serializers.Serializer[Any]):
    ids = serializers.ListField(
        child=serializers.IntegerField(), required=False, help_text="Without it all that failed."
    )
    collection = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=jobs.ENDED_BADLY, required=False)
    code = serializers.CharField(required=False)


class Retried(serializers.Serializer[Any]):
    changed = serializers.IntegerField()


def _filtered(request: Request, values: Any) -> QuerySet[Analysis]:
    found = jobs.jobs_for(request.user)
    if values.get("collection") not in (None, ""):
        pk = id_of(values["collection"], "collection")
        found = found.filter(collection=selectors.collection_for(request.user, pk))
    if state := values.get("state"):
        if state not in Analysis.State.values:
            raise FieldInvalid(
                f"state is one of {', '.join(Analysis.State.values)}.", field="state"
            )
        found = found.filter(state=state)
    if code := values.get("code"):
        found = found.filter(error_code=str(code))
    return found


def _job_json(row: Analysis) -> dict[str, Any]:
    return {
        "id": row.pk,
        "image": str(row.image_id),
        "title": row.image.title,
        "collection": row.collection_id,
        "worker": row.worker,
        **(shapes.analysis_json(row) or {}),
    }


class JobsView(APIView):
    """Analyses of visible pictures, newest first."""

    @extend_schema(
        operation_id="list_jobs",
        parameters=[*_FILTERS, LIMIT, CURSOR],
        responses=JobPage,
        tags=_TAG,
    )
    def get(self, request: Request) -> Response:
        # Without `where … in (subquery)` twice: rows by id, pictures and releases joined.
        rows = _filtered(request, request.query_params).select_related("image", "release")
        return Response(page_of(rows, request, ["-id"], lambda page: list(map(_job_json, page))))


class JobSummaryView(APIView):
    """Numbers of all jobs, and why some failed."""

    @extend_schema(
        operation_id="job_summary",
        parameters=[OpenApiParameter("collection", int)],
        responses=SummaryShape,
        tags=_TAG,
    )
    def get(self, request: Request) -> Response:
        values = {"collection": request.query_params.get("collection")}
        found = _filtered(request, values)
        summary = jobs.summary_of(found)
        return Response(
            {
                "counts": summary.counts,
                "waiting": summary.waiting,
                "per_minute": summary.per_minute,
                "oldest_wait_s": summary.oldest_wait_s,
                "remaining_s": summary.remaining_s,
                "reasons": jobs.reasons_of(found),
            }
        )


class JobRetryView(APIView):
    """Queue analyses that ended badly anew."""

    @extend_schema(
        operation_id="retry_jobs",
        request=JobRetryRequest,
        responses=Retried,
        tags=_TAG,
        examples=[OpenApiExample("All of a kind", {"code": "original_missing"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        body = form_of(request)
        known(body, JobRetryRequest().fields)
        ids = None
        if "ids" in body:
            if not isinstance(body["ids"], list) or len(body["ids"]) > _MAX_IDS:
                raise FieldInvalid(f"ids is a list of at most {_MAX_IDS}.", field="ids")
            ids = [id_of(one, "ids") for one in body["ids"]]
        return Response({"changed": jobs.retry(request.user, _filtered(request, body), ids)})
