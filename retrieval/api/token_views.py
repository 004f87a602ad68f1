"""Endpoints of tokens, and of who one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth import authenticate
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle
from rest_framework.views import APIView

from retrieval import services
from retrieval.api.base import CURSOR, LIMIT, form_of, known, page_of
from retrieval.errors import NotFound, NotSignedIn
from retrieval.models import ApiToken

MAX_DAYS = 3650


class TokenRequest(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    name = serializers.CharField(default="API", max_length=120)
    scope = serializers.ChoiceField(choices=ApiToken.Scope.choices, default="write")
    days = serializers.IntegerField(
        default=90, min_value=1, max_value=MAX_DAYS, help_text="How long it is good for."
    )


class TokenShape(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id",
            "name",
            "scope",
            "created_at",
            "expires_at",
            "last_used_at",
        )


class TokenAnswer(TokenShape):
    token = serializers.CharField(help_text="Shown once; only its digest is kept.")

    class Meta(TokenShape.Meta):
        fields = (*TokenShape.Meta.fields, "token")


class TokenPage(serializers.Serializer[Any]):
    results = TokenShape(many=True)
    next = serializers.CharField(allow_null=True)


class Me(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    username = serializers.CharField()
    staff = serializers.BooleanField()
    token = TokenShape(allow_null=True, help_text="The token of this request; null in a session.")


class SignInThrottle(SimpleRateThrottle):
    """Tries by address, whoever is signed in there."""

    scope = "sign_in"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


def _live(user: Any) -> Any:
    return ApiToken.objects.filter(user=user, revoked_at=None)


class TokensView(APIView):
    """Tokens: a new one for name and password; those there are."""

    def get_permissions(self) -> Sequence[Any]:
        return [AllowAny()] if self.request.method == "POST" else super().get_permissions()

    def get_authenticators(self) -> list[Any]:
        # Whoever sends a password is nobody yet: a stale token or session must not be in the way.
        posting = getattr(self.request, "method", "") == "POST"
        return [] if posting else super().get_authenticators()

    def get_throttles(self) -> list[BaseThrottle]:
        return [SignInThrottle()] if self.request.method == "POST" else super().get_throttles()

    @extend_schema(
        operation_id="list_tokens", parameters=[LIMIT, CURSOR], responses=TokenPage, tags=["tokens"]
    )
    def get(self, request: Request) -> Response:
        def shape(rows: list[ApiToken]) -> Any:
            return TokenShape(rows, many=True).data

        return Response(page_of(_live(request.user), request, ["-id"], shape))

    @extend_schema(
        operation_id="create_token",
        request=TokenRequest,
        responses={201: TokenAnswer},
        auth=[],
        tags=["tokens"],
        examples=[
            OpenApiExample(
                "For a script",
                {
                    "username": "ada",
                    "password": "…",
                    "name": "nightly",
                    "scope": "write",
                    "days": 90,
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        known(form_of(request), TokenRequest().fields)
        asked = TokenRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        user = authenticate(request, username=values["username"], password=values["password"])
        if user is None:
            raise NotSignedIn("Name or password is wrong.")
        text = services.create_token(user, values["name"], values["scope"], values["days"])
        made = _live(user).order_by("-id").first()
        return Response({**TokenShape(made).data, "token": text}, 201)


class TokenView(APIView):
    """One token of the user's own."""

    @extend_schema(operation_id="revoke_token", responses={204: None}, tags=["tokens"])
    def delete(self, request: Request, pk: int) -> Response:
        if not _live(request.user).filter(pk=pk).update(revoked_at=timezone.now()):
            raise NotFound("There is no such token.")
        return Response(status=204)


class MeView(APIView):
    """Who is asking, and with which token."""

    @extend_schema(operation_id="me", responses=Me, tags=["tokens"])
    def get(self, request: Request) -> Response:
        user: Any = request.user
        token = request.auth if isinstance(request.auth, ApiToken) else None
        return Response(
            {
                "id": user.pk,
                "username": user.get_username(),
                "staff": user.is_staff,
                "token": TokenShape(token).data if token else None,
            }
        )
