"""The web application. Chunked bodies, which Django would take for empty, are counted and unchunked."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "retrieval.settings")
_django = get_wsgi_application()

_SLACK_BYTES = 1_000_000  # form fields and boundaries around the file


def _too_large(start_response: Callable[..., Any]) -> list[bytes]:
    error = {
        "code": "file_too_large",
        "message": "The upload is over the size limit.",
        "field": "file",
        "request_id": "",
    }
    body = json.dumps({"error": error}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    start_response("413 Payload Too Large", headers)
    return [body]


def _most_bytes(path: str) -> int:
    """Largest body: only uploads of archives and of many pictures may be larger than a picture."""
    from django.conf import settings

    large = path in ("/api/v1/images", "/api/v1/archives")
    return (settings.MAX_ARCHIVE_BYTES if large else settings.MAX_UPLOAD_BYTES) + _SLACK_BYTES


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI entry: bodies over the upload limit are refused before anything is kept of them."""
    most = _most_bytes(environ.get("PATH_INFO", ""))
    if int(environ.get("CONTENT_LENGTH") or 0) > most:
        return _too_large(start_response)
    if "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return _django(environ, start_response)
    with tempfile.SpooledTemporaryFile(max_size=1_000_000) as body:
        size = 0
        while chunk := environ["wsgi.input"].read(65_536):
            size += len(chunk)
            if size > most:
                return _too_large(start_response)
            body.write(chunk)
        body.seek(0)
        environ.pop("HTTP_TRANSFER_ENCODING")
        environ |= {"wsgi.input": body, "CONTENT_LENGTH": str(size)}
        return list(_django(environ, start_response))
