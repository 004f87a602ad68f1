"""One example of each shape that is asked for or answered, for the schema and its page."""

from __future__ import annotations

from typing import Any

_IMAGE = "019a2b5e-53a1-7c60-8f0e-2d1c8a4f6b10"
_OTHER = "019a2b5e-61f4-7d02-9a57-7be0934cc1d2"
_WHEN = "2026-05-31T12:00:00Z"
_V1 = "/api/v1"


def _links(pk: str) -> dict[str, str]:
    own = f"{_V1}/images/{pk}"
    return {
        "self": own,
        "mask": f"{own}/mask.png",
        "areas": f"{own}/areas",
        "regions": f"{own}/regions",
        "similar": f"{own}/similar",
        "thumb": f"/images/{pk}/thumb-256.webp",
        "page": f"/images/{pk}",
    }


def _page(row: Any) -> dict[str, Any]:
    return {"results": [row], "next": None}


_ANALYSIS = {
    "state": "done",
    "error_code": None,
    "error_detail": None,
    "attempts": 1,
    "release": "starter",
    "queued_at": _WHEN,
    "finished_at": "2026-05-31T12:00:02Z",
}
_LISTED = {
    "id": _IMAGE,
    "collection": 1,
    "title": "bridge.jpg",
    "width_px": 1600,
    "height_px": 1200,
    "size_bytes": 418_220,
    "format": "JPEG",
    "sha256": "28dfbdff749a69e6bcb20aea7f95bb893333c57295abe972a948ca02e2c19a5e",
    "rendered": False,
    "taken_at": None,
    "created_at": _WHEN,
    "metadata": {"camera": "box"},
    "tags": ["bridge", "fog"],
    "analysis": _ANALYSIS,
    "links": _links(_IMAGE),
}
_FULL = {**_LISTED, "areas": {"sky": 0.41, "water": 0.33, "building": 0.26}}
_PROGRESS = {"total": 150, "done": 148, "waiting": 1, "refused": 1, "per_minute": 210}
_COLLECTION = {
    "id": 1,
    "name": "Spring 2026",
    "visibility": "private",
    "owner": "ada",
    "role": "owner",
    "created_at": _WHEN,
    "progress": _PROGRESS,
}
_TOKEN = {
    "id": 7,
    "name": "nightly",
    "scope": "read",
    "created_at": _WHEN,
    "expires_at": "2026-08-29T12:00:00Z",
    "last_used_at": None,
}
_JOB = {
    "id": 41,
    "image": _IMAGE,
    "title": "bridge.jpg",
    "collection": 1,
    "worker": "",
    **_ANALYSIS,
}
_MEMBER = {"username": "ben", "role": "editor"}
_WEBHOOK = {
    "id": 3,
    "collection": 1,
    "url": "https://example.org/paysage",
    "events": ["analysis.done", "analysis.failed"],
    "created_at": _WHEN,
}
_DELIVERY = {
    "id": "019a2b5e-9b0c-7e11-8a33-5d6f7a8b9c0d",
    "event": "analysis.failed",
    "body": {
        "event": "analysis.failed",
        "image": _IMAGE,
        "collection": 1,
        "state": "failed",
        "error_code": "original_missing",
        "error_detail": "The stored file is gone.",
        "release": "starter",
        "finished_at": _WHEN,
    },
    "created_at": _WHEN,
    "attempts": 1,
    "next_try_at": _WHEN,
    "delivered_at": "2026-05-31T12:00:03Z",
    "given_up_at": None,
    "status": 200,
    "error": "",
}
_HIT = {
    "id": _OTHER,
    "title": "ferry.jpg",
    "score": 0.83513,
    "parts": {"context": 0.79466, "layout": 0.83354, "composition": 0.97759},
    "percentiles": {"context": 91.96, "layout": 94.43, "composition": 96.01, "score": 93.24},
    "regions": [],
    "links": _links(_OTHER),
}
_ANSWER = {
    "plan": {
        "kind": "exact",
        "matching": 149,
        "matching_is_lower_bound": False,
        "compared": 149,
        "release": "starter",
        "metric": "cosine",
        "rank": {"context": 0.7, "layout": 0.1, "composition": 0.2},
        "recall": None,
        "ms": 9.4,
    },
    "cursor": None,
    "results": [_HIT],
}
_QUERY = {"classes": [{"name": "sky", "min": 0.3, "max": 1.0}, {"name": "car", "max": 0.0}]}
_SAVED = {
    "id": 5,
    "name": "Open skies",
    "query": _QUERY,
    "collection": 1,
    "shared": True,
    "owner": "ada",
    "own": True,
    "removable": True,
    "looked_at": _WHEN,
}
_PAIR = {
    "id": 9,
    "first": _LISTED,
    "second": {**_LISTED, "id": _OTHER, "title": "bridge copy.jpg", "links": _links(_OTHER)},
    "context": 0.9731,
    "layout": 0.9502,
    "state": "open",
    "resolved_at": None,
}
_SEGMENT = {"image": _IMAGE, "number": 0, "class": "sky", "area": 0.41, "box": [0, 0, 1, 0.5]}
_ENTRIES = [
    {"name": "bridge.jpg", "image": _LISTED, "created": True, "error": None},
    {
        "name": "notes.txt",
        "image": None,
        "created": False,
        "error": {
            "code": "format_unsupported",
            "message": "The file is no JPEG, PNG or WebP.",
            "field": "file",
            "request_id": "4f1f3c2ab90d4e11",
        },
    },
]
_MASK = {"image": _IMAGE, "release": "starter", "width_px": 4, "height_px": 2}
_SKY = {"category_id": 1, "category": "sky", "area": 4, "bbox": [0, 0, 4, 1]}

EXAMPLES: dict[str, Any] = {
    # what is answered
    "TokenAnswer": {**_TOKEN, "token": "paysage_…"},
    "TokenPage": _page(_TOKEN),
    "Me": {"id": 2, "username": "ada", "staff": False, "token": _TOKEN},
    "Collection": _COLLECTION,
    "CollectionPage": _page(_COLLECTION),
    "Member": _MEMBER,
    "MemberPage": _page(_MEMBER),
    "Image": _FULL,
    "SparseImage": {"id": _IMAGE, "areas": _FULL["areas"]},
    "ImagePage": {"results": [_LISTED], "next": "WyIwMTlhMmI1ZS01M2ExIiwgbnVsbF0"},
    "ImageOrResults": _FULL,
    "UploadResults": {"created": 1, "duplicates": 0, "refused": 1, "results": _ENTRIES},
    "Removed": {"changed": 1, "undo": f"{_V1}/undo/019a2b5e-7d10-7a33-8f0e-0a1b2c3d4e5f"},
    "Restored": {"changed": 1},
    "BulkAnswer": {"changed": 12},
    "UploadProgress": {
        "id": _OTHER,
        "length": 418_220,
        "offset": 262_144,
        "image": None,
        "created": None,
    },
    "Analysis": _ANALYSIS,
    "Areas": {"release": "starter", "results": [{"index": 1, "name": "sky", "share": 0.408484}]},
    "Regions": {
        "release": "starter",
        "results": [
            {
                "number": 0,
                "class_index": 1,
                "name": "sky",
                "area": 0.404,
                "box": [0.0, 0.0, 1.0, 0.535],
                "confidence": 0.886,
            }
        ],
    },
    "Vectors": {
        "release": "starter",
        "composition": [0.639, 0.518, 0.374],
        "layout": {"size": 1280, "indices": [1, 21], "values": [0.125, 0.121]},
        "context": [0.031, -0.082, 0.114],
        "context_norm": 3.42,
    },
    "CocoMask": {
        **_MASK,
        "annotations": [
            {**_SKY, "iscrowd": 1, "segmentation": {"size": [2, 4], "counts": "01100000"}}
        ],
    },
    "PolygonMask": {
        **_MASK,
        "annotations": [
            {**_SKY, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 1, 0, 1]], "holes": []}
        ],
    },
    "SearchAnswer": _ANSWER,
    "SavedAnswer": {**_ANSWER, "new": 2},
    "Waiting": {"state": "queued", "location": f"{_V1}/searches/{_IMAGE}"},
    "Explanation": {
        "image": _OTHER,
        "release": "starter",
        "score": 0.835,
        "parts": {
            "context": {"similarity": 0.795, "score": 0.795, "weight": 0.7, "contribution": 0.5565}
        },
        "context": {
            "pairs": [
                {
                    "query": _SEGMENT,
                    "hit": {**_SEGMENT, "image": _OTHER},
                    "similarity": 0.94,
                    "share": 0.211,
                    "link": 0,
                }
            ],
            "others": 0.584,
        },
        "composition": [{"class": "sky", "query": 0.41, "hit": 0.39, "share": 0.4}],
    },
    "Words": {
        "classes": [{"name": "sky", "min": 0.005, "max": 1, "text": "sky", "alternatives": []}],
        "unused": ["please"],
        "query": {"classes": [{"name": "sky", "min": 0.005, "max": 1}]},
    },
    "Count": {"count": 128},
    "Histograms": {
        "images": 150,
        "bins": 20,
        "classes": [{"name": "sky", "counts": [11, 9, 9, *[0] * 17], "without": 121}],
    },
    "Charts": {
        "images": 150,
        "classes": [{"name": "sky", "mean_area": 0.353, "images": 150}],
        "together": [[150]],
    },
    "PaintedScene": {"grid": 8, "cells": [[0, 0, "sky"], [7, 3, "road"]]},
    "Map": {
        "points": 150,
        "images": 150,
        "measured_at": _WHEN,
        "cells": [
            {
                "image": _IMAGE,
                "x": 0.138,
                "y": 0.355,
                "images": 35,
                "thumb": f"/images/{_IMAGE}/thumb-256.webp",
            }
        ],
    },
    "SavedSearch": {**_SAVED, "new": 2, "error": None},
    "SavedSearchPage": _page(_SAVED),
    "Pair": _PAIR,
    "PairPage": {**_page(_PAIR), "count": 1},
    "JobPage": _page(_JOB),
    "Summary": {
        "counts": {"queued": 1, "running": 0, "done": 148, "rejected": 1, "failed": 0},
        "waiting": 1,
        "per_minute": 210,
        "oldest_wait_s": 0.4,
        "remaining_s": 0.3,
        "reasons": [{"error_code": "image_damaged", "state": "rejected", "n": 1}],
    },
    "Retried": {"changed": 3},
    "Webhook": _WEBHOOK,
    "WebhookAnswer": {**_WEBHOOK, "secret": "whsec_…"},
    "WebhookPage": _page(_WEBHOOK),
    "DeliveryPage": _page(_DELIVERY),
    "Classes": {
        "release": "starter",
        "results": [{"index": 1, "name": "sky", "name_zh": "天空", "colour": "#6fb7e9"}],
        "next": None,
    },
    "Health": {"database": "ok", "pgvector": "0.8.5", "queue": "ok"},
    # what is asked for
    "CollectionChange": {"name": "Spring and summer"},
    "JobRetryRequest": {"code": "original_missing"},
    "Query": {"like": [{"image": _IMAGE}], **_QUERY, "limit": 20},
    "QueryBody": {"query": _QUERY},
    "ExplainBody": {"query": {"like": [{"image": _IMAGE}]}, "image": _OTHER, "pairs": 20},
    "WordsBody": {"text": "street with trees, no cars"},
    "SavedSearchRequest": {"name": "Open skies", "query": _QUERY},
    "LookRequest": {"limit": 20},
    "PairChange": {"state": "different"},
}
