"""`Authorization: Token paysage_…`."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from retrieval.errors import Forbidden, TokenInvalid
from retrieval.models import ApiToken


def _reads(request: Request) -> bool:
    """Whether a request changes nothing: by its method, or as its view says of its POST."""
    view = (request.parser_context or {}).get("view")
    posts = request.method == "POST" and getattr(view, "post_reads", False)
    return posts or request.method in ("GET", "HEAD", "OPTIONS")


class ApiTokenAuthentication(BaseAuthentication):
    """Finds the user by the digest of the token's text."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        words = get_authorization_header(request).decode("latin-1").split()
        if len(words) != 2 or words[0].lower() not in ("token", "bearer"):
            return None
        digest = hashlib.sha256(words[1].encode()).hexdigest()
        now = timezone.now()
        token = (
            ApiToken.objects.select_related("user")
            .filter(Q(expires_at=None) | Q(expires_at__gt=now), digest=digest, revoked_at=None)
            .first()
        )
        if token is None or not token.user.is_active:
            raise TokenInvalid("The token is unknown, expired or revoked.")
        if token.scope == ApiToken.Scope.READ and not _reads(request):
            raise Forbidden("This token may read only.")
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"


class ApiTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the token."""

    target_class = ApiTokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `POST /tokens`; `Authorization: Token …` says the same.",
        }
