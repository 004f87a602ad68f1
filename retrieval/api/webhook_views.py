"""Endpoints of webhooks: who is told when an analysis ends."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from retrieval import selectors
from retrieval.api.base import CURSOR, LIMIT, form_of, id_of, known, names_of, page_of, text_of
from retrieval.models import Delivery, Webhook
from retrieval.webhooks.addresses import MAX_URL
from retrieval.webhooks.hooks import create_webhook, webhook_for, webhooks_for
from retrieval.webhooks.outbox import EVENTS

_TAG = ["webhooks"]


class WebhookRequest(serializers.Serializer[Any]):
    collection = serializers.IntegerField()
    url = serializers.CharField(max_length=MAX_URL, help_text="http or https, in the internet.")
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=EVENTS), required=False, help_text="All by default."
    )


class WebhookShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    collection = serializers.IntegerField(source="collection_id")
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=EVENTS))
    created_at = serializers.DateTimeField()


class WebhookAnswer(WebhookShape):
    secret = serializers.CharField(help_text="Signs what is sent; shown once.")


class WebhookPage(serializers.Serializer[Any]):
    results = WebhookShape(many=True)
    next = serializers.CharField(allow_null=True)


class DeliveryShape(serializers.ModelSerializer[Delivery]):
    body = serializers.DictField()

    class Meta:
        model = Delivery
        fields = (
            *("id", "event", "body", "created_at", "attempts", "next_try_at"),
            *("delivered_at", "given_up_at", "status", "error"),
        )


class DeliveryPage(serializers.Serializer[Any]):
    results = DeliveryShape(many=True)
    next = serializers.CharField(allow_null=True)


class WebhooksView(APIView):
    """The caller's webhooks; new ones, for collections that the caller manages."""

    @extend_schema(
        operation_id="list_webhooks", parameters=[LIMIT, CURSOR], responses=WebhookPage, tags=_TAG
    )
    def get(self, request: Request) -> Response:
        def shape(rows: list[Webhook]) -> Any:
            return WebhookShape(rows, many=True).data

        return Response(page_of(webhooks_for(request.user), request, ["-id"], shape))

    @extend_schema(
        operation_id="create_webhook",
        request=WebhookRequest,
        responses={201: WebhookAnswer},
        tags=_TAG,
        description="What is sent and how it is signed: docs/api.md.",
        examples=[
            OpenApiExample(
                "Failures only",
                {
                    "collection": 1,
                    "url": "https://example.org/paysage",
                    "events": ["analysis.failed"],
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        body = form_of(request)
        known(body, WebhookRequest().fields)
        pk = id_of(body.get("collection"), "collection")
        made = create_webhook(
            request.user,
            selectors.collection_for(request.user, pk),
            text_of(body, "url", MAX_URL),
            names_of(body, "events") if "events" in body else EVENTS,
        )
        return Response(WebhookAnswer(made).data, 201)


class WebhookView(APIView):
    """One webhook of the caller's."""

    @extend_schema(operation_id="get_webhook", responses=WebhookShape, tags=_TAG)
    def get(self, request: Request, pk: int) -> Response:
        return Response(WebhookShape(webhook_for(request.user, pk)).data)

    @extend_schema(operation_id="delete_webhook", responses={204: None}, tags=_TAG)
    def delete(self, request: Request, pk: int) -> Response:
        webhook_for(request.user, pk).delete()
        return Response(status=204)


class DeliveriesView(APIView):
    """What a webhook was told in the last two weeks, and what is still to be told."""

    @extend_schema(
        operation_id="list_deliveries",
        parameters=[LIMIT, CURSOR],
        responses=DeliveryPage,
        tags=_TAG,
    )
    def get(self, request: Request, pk: int) -> Response:
        def shape(rows: list[Delivery]) -> Any:
            return DeliveryShape(rows, many=True).data

        rows = webhook_for(request.user, pk).deliveries.all()
        return Response(page_of(rows, request, ["-id"], shape))
