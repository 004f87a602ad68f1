"""Endpoints of the platform itself: classes, health, the page that shows the schema."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import selectors
from retrieval.upload import active_release
from retrieval.web.health import probe


class ClassShape(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    name = serializers.CharField()
    name_zh = serializers.CharField(allow_blank=True)
    colour = serializers.CharField(help_text="#rrggbb, as in masks.")


class ClassesShape(serializers.Serializer[Any]):
    release = serializers.CharField()
    results = ClassShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="Always null: all classes are here.")


class HealthShape(serializers.Serializer[Any]):
    database = serializers.CharField()
    pgvector = serializers.CharField(required=False)
    queue = serializers.CharField()


class ClassesView(APIView):
    """Classes of the active release."""

    @extend_schema(operation_id="list_classes", responses=ClassesShape, tags=["platform"])
    def get(self, request: Request) -> Response:
        release = active_release()
        rows = ClassShape(selectors.classes_of(release), many=True).data
        return Response({"release": release.name, "results": rows, "next": None})


class HealthView(APIView):
    """Whether database and queue answer."""

    permission_classes = (AllowAny,)
    authentication_classes = ()
    throttle_classes = ()

    @extend_schema(
        operation_id="health",
        responses={200: HealthShape, 503: HealthShape},
        auth=[],
        tags=["platform"],
    )
    def get(self, request: Request) -> Response:
        healthy, found = probe()
        return Response(found, 200 if healthy else 503)


def docs(request: HttpRequest) -> HttpResponse:
    """The schema as a page to read and try, for everybody, by the content policy of all pages."""
    return render(request, "api.html")
