"""One of everything that the API has, Ada's; and people with a part in her collection."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from retrieval.models import (
    Analysis,
    ApiToken,
    Delivery,
    Image,
    Membership,
    NearDuplicate,
    SavedSearch,
    Sheet,
    SheetStage,
    Upload,
    Webhook,
)


@pytest.fixture(name="places")
def places_fixture(world) -> dict[str, Any]:
    """One of everything, Ada's; and callers with their parts in her collection."""
    from django.contrib.auth import get_user_model

    ada, collection = world["ada"], world["own"]
    make = get_user_model().objects.create_user
    viewer, editor, member, new = (make(n) for n in ("viewer", "editor", "member", "new"))
    for person, role in ((viewer, "viewer"), (editor, "editor"), (member, "viewer")):
        Membership.objects.create(collection=collection, user=person, role=role)
    images = list(Image.objects.filter(collection=collection).order_by("id")[:2])
    release = world["release"]
    sheet = Sheet.objects.create(
        image=images[0], release=release, collection=collection, state="done"
    )
    SheetStage.objects.create(
        sheet=sheet, key="features", title="t", sentence="s", shape="1", number=0, png=b"x"
    )
    hook = Webhook.objects.create(
        user=ada, collection=collection, url="https://a.example/", secret="s", events=[]
    )
    Delivery.objects.create(webhook=hook, event="analysis.done", body={})
    upload = Upload.objects.create(
        user=ada,
        collection=collection,
        length=10,
        expires_at=timezone.now() + timedelta(days=1),
    )
    pair = NearDuplicate.objects.create(
        **_pair(images, collection, release), context=0.99, layout=0.9
    )
    Analysis.objects.filter(image=images[0]).update(state="done")
    return {
        "people": {"viewer": viewer, "editor": editor, "owner": ada, "other": world["ben"]},
        "staff": world["root"],
        "collection": collection.pk,
        "image": str(images[0].pk),
        "token": ApiToken.objects.create(user=ada, name="t", digest="e" * 64).pk,
        "upload": str(upload.pk),
        "saved": SavedSearch.objects.create(owner=ada, name="s", query={}).pk,
        "shared": SavedSearch.objects.create(
            owner=editor, name="shared", query={}, collection=collection, shared=True
        ).pk,
        "webhook": hook.pk,
        "pair": pair.pk,
        "nothing": str(uuid.uuid4()),
        "side": 256,
        "new": new.username,
    }


def _pair(images: list[Image], collection: Any, release: Any) -> dict[str, Any]:
    names = {field.name for field in NearDuplicate._meta.fields}
    found = {"first": images[0], "second": images[1], "collection": collection}
    return {**found, **({"release": release} if "release" in names else {})}
