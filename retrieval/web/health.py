"""Whether the platform answers, for probes."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET


def probe() -> tuple[bool, dict[str, Any]]:
    """Whether the database and the queue answer, and what they said."""
    import redis
    from django.conf import settings

    found: dict[str, Any] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            found["database"], found["pgvector"] = "ok", cursor.fetchone()[0]
    except Exception as error:  # any failure is the answer
        found["database"] = type(error).__name__
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1).ping()
        found["queue"] = "ok"
    except (redis.RedisError, ValueError) as error:
        found["queue"] = type(error).__name__
    return found["database"] == found["queue"] == "ok", found


@require_GET
def health(request: HttpRequest) -> JsonResponse:
    """200 when the database and the queue answer, else 503."""
    healthy, found = probe()
    return JsonResponse(found, status=200 if healthy else 503)
