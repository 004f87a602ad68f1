"""The admin panel: pages open, queries do not grow with rows, actions reach the whole filter, CSV both ways."""

from __future__ import annotations

import io

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from retrieval import bulk
from retrieval.models import Analysis, Image
from retrieval.services import create_collection
from tests.conftest import encoded, scene, store

pytestmark = pytest.mark.django_db(transaction=True)

LISTS = (
    "collection",
    "image",
    "tag",
    "analysis",
    "mask",
    "descriptor",
    "region",
    "classarea",
    "release",
    "apitoken",
    "savedsearch",
)


@pytest.fixture
def staff(client, people, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nothing is parsed here
    client.force_login(people["root"])
    return client


def fill(collection, count: int, first: int = 0) -> None:
    for seed in range(first, first + count):
        store(collection, encoded(scene(seed, (64, 48))), f"picture {seed}.jpg", tags=["field"])


def queries(client, url: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as caught:
        answer = client.get(url)
    assert answer.status_code == 200, url
    return [query["sql"] for query in caught]


def test_every_list_opens(staff, collection):
    fill(collection, 2)
    assert staff.get(reverse("admin:index")).status_code == 200
    for name in LISTS:
        assert staff.get(reverse(f"admin:retrieval_{name}_changelist")).status_code == 200, name
    image = Image.objects.first()
    page = staff.get(reverse("admin:retrieval_image_change", args=[image.pk]))
    assert page.status_code == 200 and image.sha256 in page.content.decode()


@pytest.mark.parametrize("name", ["image", "analysis", "collection", "tag"])
def test_lists_take_the_same_queries_for_any_number_of_rows(staff, collection, people, name):
    url = reverse(f"admin:retrieval_{name}_changelist")
    fill(collection, 2)
    few = queries(staff, url)
    fill(collection, 6, first=50)
    for number in range(4):
        create_collection(people["ada"], f"more {number}")
        bulk.tag(people["ada"], Image.objects.all(), add=[f"tag {number}"])
    many = queries(staff, url)
    assert len(many) == len(few) <= 14, "\n".join(many)


def test_no_query_counts_a_whole_large_table(staff, collection):
    fill(collection, 2)
    for name in ("image", "analysis", "mask", "descriptor", "region", "classarea"):
        for sql in queries(staff, reverse(f"admin:retrieval_{name}_changelist")):
            assert "COUNT(" not in sql or "LIMIT 10001" in sql, sql


def test_over_the_bound_the_planner_estimates(collection, monkeypatch, staff):
    from retrieval.admin import base

    fill(collection, 5)
    assert base.bounded_count(Image.objects.all()) == 5
    monkeypatch.setattr(base, "COUNTED_EXACTLY", 3)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE retrieval_image")
    with CaptureQueriesContext(connection) as caught:
        assert base.bounded_count(Image.objects.all()) == 5
    assert any("EXPLAIN" in query["sql"] for query in caught)


def act(client, action: str, ids=(), across: bool = False, where: str = "", **values: str):
    url = reverse("admin:retrieval_image_changelist") + where
    body = {
        "action": action,
        ACTION_CHECKBOX_NAME: [str(pk) for pk in ids],
        "select_across": "1" if across else "0",
        "index": "0",
        **values,
    }
    return client.post(url, body, follow=True)


def test_actions_reach_the_selection_and_the_whole_filter(staff, collection, people):
    fill(collection, 60)  # more than a page
    some = list(Image.objects.values_list("pk", flat=True)[:3])
    asked = act(staff, "tag", some)
    assert "Tag pictures" in asked.content.decode()
    act(staff, "tag", some, add="chosen", remove="field", confirmed="1")
    assert Image.objects.filter(tags__name="chosen").count() == 3
    assert Image.objects.filter(tags__name="field").count() == 57

    other = create_collection(people["ada"], "Other")
    act(staff, "move", some[:1], True, "?q=picture", to=str(other.pk), confirmed="1")
    assert Image.objects.filter(collection=other).count() == 60
    assert Analysis.objects.filter(collection=other).count() == 60

    Analysis.objects.update(state="failed", error_code="analysis_error")
    act(staff, "parse_again", some[:1], True)
    assert Analysis.objects.filter(state="queued").count() == 60

    act(staff, "delete_with_files", some)
    assert Image.objects.filter(collection=other).count() == 60, "asked first"
    act(staff, "delete_with_files", some, confirmed="1")
    assert Image.objects.filter(collection=other).count() == 57


def test_metadata_goes_out_and_comes_in_as_csv(staff, collection):
    fill(collection, 2)
    first, second = Image.objects.order_by("pk")
    Image.objects.filter(pk=first.pk).update(title="=1+1")
    exported = staff.post(
        reverse("admin:retrieval_image_export"),
        {
            "format": "0",
            "resource": "0",
            **{
                f"imageresource_{f}": "on"
                for f in ("id", "collection", "title", "taken_at", "tags", "metadata")
            },
        },
    )
    text = exported.content.decode()
    assert "'=1+1" in text and "field" in text and str(second.pk) in text

    changed = f'id,title,tags\n{first.pk},\'=1+1,"a, b"\n{second.pk},Harbour,field\n'
    answer = upload_csv(staff, changed)
    assert answer.status_code == 200
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.title, second.title) == ("=1+1", "Harbour")
    assert set(first.tags.values_list("name", flat=True)) == {"a", "b"}

    unknown = "id,title,tags\n00000000-0000-7000-8000-000000000000,x,y\n"
    refused = upload_csv(staff, unknown, confirm=False)
    assert "no picture with this id" in refused.content.decode()
    assert Image.objects.count() == 2


def upload_csv(client, text: str, confirm: bool = True):
    file = io.BytesIO(text.encode())
    file.name = "metadata.csv"
    page = client.post(
        reverse("admin:retrieval_image_import"),
        {"format": "0", "resource": "0", "import_file": file},
    )
    if not confirm:
        return page
    assert "confirm_form" in page.context, [
        e for r in page.context["result"].rows for e in r.errors
    ] or page.context.get("form").errors
    form = page.context["confirm_form"]
    return client.post(reverse("admin:retrieval_image_process_import"), form.initial, follow=True)
