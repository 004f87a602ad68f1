"""What the generated schema lacks: errors of every endpoint, links, the version rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drf_spectacular.openapi import AutoSchema

from retrieval.api.examples import EXAMPLES

TAGS = {
    "tokens": "Sign in, and who one is.",
    "collections": "Collections, their members, map and near-duplicates.",
    "images": "Pictures: upload, list, change, remove, one or many.",
    "uploads": "Resumable uploads (tus 1.0).",
    "findings": "What was found in a picture: analysis, areas, regions, masks, vectors.",
    "searches": "Searching, explaining hits, counting, saved searches.",
    "charts": "Areas and co-occurrence of classes.",
    "duplicates": "Pairs of nearly the same picture.",
    "jobs": "What runs, waits and failed.",
    "webhooks": "Being told when an analysis ends.",
    "platform": "Classes and health.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "Stable; for programs."},
                "message": {"type": "string", "description": "For people: what to do."},
                "field": {"type": ["string", "null"], "description": "What is to blame."},
                "request_id": {"type": "string", "description": "Names the request in the log."},
            },
        }
    },
    "example": {
        "error": {
            "code": "field_invalid",
            "message": "collection must be an id.",
            "field": "collection",
            "request_id": "4f1f3c2ab90d4e11",
        }
    },
}
_MEANINGS = {
    "400": "A field or the query is impossible.",
    "401": "No token, or one that is unknown, expired or revoked.",
    "403": "The caller sees it but may not do this, or the token may read only.",
    "404": "It does not exist, or is not the caller's to see.",
    "409": "Its state, or a name that is taken, does not allow it.",
    "412": "If-Match names another version.",
    "413": "The file is too large.",
    "415": "The file's format, or the body's type, is not read.",
    "422": "The file, archive or Idempotency-Key is refused.",
    "429": "Too many requests; Retry-After says when to come again.",
    "503": "Database or model do not answer; Retry-After says when to come again.",
    "default": "Any other error, in the same shape.",
}
# From what an operation answers to the operations that take it: (operation, status, name of the
# link, operation to follow, parameters).
_LINKS = (
    ("create_collection", "201", "collection", "get_collection", {"id": "id"}),
    ("create_collection", "201", "members", "list_members", {"id": "id"}),
    ("create_token", "201", "revoke", "revoke_token", {"id": "id"}),
    ("create_webhook", "201", "webhook", "get_webhook", {"id": "id"}),
    ("create_webhook", "201", "deliveries", "list_deliveries", {"id": "id"}),
    ("save_search", "201", "search", "get_saved_search", {"id": "id"}),
    ("list_images", "200", "image", "get_image", {"id": "results/0/id"}),
    ("list_images", "200", "analysis", "get_analysis", {"id": "results/0/id"}),
    ("list_images", "200", "areas", "get_areas", {"id": "results/0/id"}),
    ("list_images", "200", "regions", "get_regions", {"id": "results/0/id"}),
    ("list_images", "200", "mask", "get_mask_rle", {"id": "results/0/id"}),
    ("list_images", "200", "polygons", "get_mask_polygons", {"id": "results/0/id"}),
    ("list_images", "200", "similar", "get_similar", {"id": "results/0/id"}),
    ("list_collections", "200", "collection", "get_collection", {"id": "results/0/id"}),
    ("list_webhooks", "200", "webhook", "get_webhook", {"id": "results/0/id"}),
)


class EndpointSchema(AutoSchema):
    """Names shapes without `Shape`, and gives each operation its id's words as summary."""

    def get_summary(self) -> str:
        return self.get_operation_id().replace("_", " ").capitalize()  # type: ignore[no-untyped-call,no-any-return]

    def get_serializer_name(self, serializer: Any, direction: str) -> str:
        return type(serializer).__name__.removesuffix("Serializer").removesuffix("Shape")


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _statuses(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    found = ["400", "429", "503", "default"]
    if operation.get("security") != []:
        found += ["401", "403"]
    if "{" in path or method != "get":
        found.append("404")
    if method != "get":
        found += ["409", "412", "413", "415", "422"]
    return found


def _contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(media type, what is said of it) of what an operation takes and gives."""
    for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from holder.get("content", {}).items()


def _show_examples(operation: dict[str, Any]) -> None:
    """Give each JSON body without an example of its own that of its shape."""
    for kind, content in _contents(operation):
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if kind == "application/json" and name in EXAMPLES:
            content.setdefault("examples", {name: {"value": EXAMPLES[name]}})


def complete(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: examples, the error shape on every operation, links between them."""
    result["components"].setdefault("schemas", {})["Error"] = _ERROR
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, method, operation in _operations(result):
        _show_examples(operation)
        for status in _statuses(path, method, operation):
            answer = {"description": _MEANINGS[status], "content": reference}
            operation["responses"].setdefault(status, answer)
    by_id = {operation["operationId"]: operation for _, _, operation in _operations(result)}
    for source, status, name, target, parameters in _LINKS:
        answer = by_id[source]["responses"][status]
        answer.setdefault("links", {})[name] = {
            "operationId": by_id[target]["operationId"],
            "parameters": {k: f"$response.body#/{v}" for k, v in parameters.items()},
        }
    return result
