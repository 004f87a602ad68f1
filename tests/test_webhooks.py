"""Webhooks: written with the result, signed, sent again until answered, never into our own network."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone

from retrieval import queue
from retrieval.errors import AddressRefused
from retrieval.models import Analysis, Delivery, Image, Membership, Webhook
from retrieval.webhooks import addresses, delivery
from retrieval.webhooks.hooks import create_webhook
from tests.api_world import Program, people_fixture, refused  # noqa: F401
from tests.conftest import await_final, database_url, encoded, scene, start_worker, store


class Receiver(ThreadingHTTPServer):
    """Somebody else's server: answers with `statuses` one after the other, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Heard)
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=1"


class _Heard(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    settings.WEBHOOK_PRIVATE = True
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()


@pytest.fixture
def hook(collection, receiver) -> Webhook:
    return create_webhook(collection.owner, collection, receiver.url)


def fail_one(collection: object, seed: int = 1) -> Image:
    """A picture whose analysis ended as failed, as a worker ends it."""
    image = store(collection, encoded(scene(seed)))
    token, rows = queue.claim("bulk", 1, "test", 60)
    assert queue.finish(token, rows[0], "failed", "original_missing", "The file is gone.")
    return image


def test_the_outbox_is_written_with_the_result_and_sent_signed(collection, hook, receiver):
    image = fail_one(collection)
    row = Delivery.objects.get()
    assert row.event == "analysis.failed" and row.delivered_at is None
    assert delivery.deliver_due() == 1 and delivery.deliver_due() == 0
    headers, body = receiver.heard[0]
    told = json.loads(body)
    assert told["image"] == str(image.pk) and told["error_code"] == "original_missing"
    moment = int(headers["Paysage-Signature"].split(",")[0].removeprefix("t="))
    assert headers["Paysage-Signature"] == delivery.signature(hook.secret, body, moment)
    assert headers["Paysage-Signature"] != delivery.signature("other", body, moment)
    assert abs(moment - timezone.now().timestamp()) < 30
    assert headers["Paysage-Delivery"] == str(row.pk)
    row.refresh_from_db()
    assert row.delivered_at and row.status == 200 and row.attempts == 1


def test_nothing_is_told_of_what_was_rolled_back(collection, hook):
    from django.db import transaction

    store(collection, encoded(scene(2)))
    token, rows = queue.claim("bulk", 1, "test", 60)
    with pytest.raises(RuntimeError), transaction.atomic():
        queue.finish(token, rows[0], "failed", "code", "detail")
        raise RuntimeError("the transaction fails after all")
    assert not Delivery.objects.exists()
    assert not queue.finish(uuid.uuid4(), rows[0], "failed", "code", "a late worker's word")
    assert not Delivery.objects.exists()


def test_quarantine_is_told_and_other_collections_are_not(collection, hook, people):
    from retrieval.services import create_collection

    store(collection, encoded(scene(3)))
    queue.claim("bulk", 1, "test", 60)
    past = timezone.now() - timedelta(seconds=1)
    Analysis.objects.update(attempts=3, lease_until=past)
    assert queue.sweep().quarantined == 1
    assert Delivery.objects.get().body["state"] == "quarantined"
    fail_one(create_collection(people["ada"], "Quiet"), 4)
    assert Delivery.objects.count() == 1


def test_only_wanted_events(collection, receiver):
    create_webhook(collection.owner, collection, receiver.url, ["analysis.done"])
    fail_one(collection)
    assert not Delivery.objects.exists()


def test_it_is_sent_again_with_growing_pauses_and_then_given_up(collection, hook, receiver):
    fail_one(collection)
    receiver.statuses = [500, 302] + [503] * 20
    pauses = []
    for attempt in range(1, delivery.MAX_ATTEMPTS + 1):
        assert delivery.deliver_due() == 0
        row = Delivery.objects.get()
        assert row.attempts == attempt and str(row.status) in row.error
        pauses.append((row.next_try_at - timezone.now()).total_seconds())
        assert delivery.deliver_due() == 0 and len(receiver.heard) == attempt  # not due yet
        Delivery.objects.update(next_try_at=timezone.now())
    assert row.given_up_at is not None
    expected = [delivery.pause_s(n) for n in range(1, delivery.MAX_ATTEMPTS)]
    assert expected[:4] == [10, 40, 160, 640] and max(expected) <= 6 * 3600
    assert all(abs(a - b) < 10 for a, b in zip(pauses, expected, strict=False))
    # the same delivery each time, so that receivers can tell
    assert len({headers["Paysage-Delivery"] for headers, _ in receiver.heard}) == 1


def test_a_receiver_that_is_not_there_or_says_nonsense(collection, receiver):
    create_webhook(collection.owner, collection, "http://127.0.0.1:9/nobody")
    fail_one(collection)
    assert delivery.deliver_due() == 0
    row = Delivery.objects.get()
    assert row.status is None and "Refused" in row.error and row.delivered_at is None


def test_it_falls_silent_when_its_maker_may_not_know(collection, people, receiver):
    member = Membership.objects.create(collection=collection, user=people["ben"], role="manager")
    create_webhook(people["ben"], collection, receiver.url)
    fail_one(collection)
    member.delete()
    assert delivery.deliver_due() == 0
    assert not receiver.heard and not Webhook.objects.exists()


REFUSED = (
    "http://127.0.0.1/",
    "http://localhost:8000/",
    "http://10.0.0.7/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fd00::1]/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "//example.org/",
    "http:///nothing",
    "http://user:secret@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org/\r\nX-Evil: 1",
    "http://example.org:99999/",
    "nonsense",
)


def test_addresses_that_are_refused(collection):
    ada = Program(collection.owner)
    for url in REFUSED:
        with pytest.raises(AddressRefused):
            create_webhook(collection.owner, collection, url)
        answer = ada.send("POST", "/webhooks", {"collection": collection.pk, "url": url})
        assert answer.status_code == 400, (url, answer.content)


def test_a_name_that_means_our_own_network_is_refused_when_it_is_called(collection, monkeypatch):
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda *_, **__: [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("127.0.0.1", 80))],
    )
    hook = create_webhook(collection.owner, collection, "http://rebinding.example.org/")
    with pytest.raises(AddressRefused):
        addresses.resolve(addresses.parse_address(hook.url))
    fail_one(collection)
    monkeypatch.setattr("socket.create_connection", lambda *_: pytest.fail("it was called"))
    assert delivery.deliver_due() == 0
    assert "public internet" in Delivery.objects.get().error


def test_webhooks_over_the_api(collection, people, receiver):
    ada, ben = Program(people["ada"]), Program(people["ben"])
    body = {"collection": collection.pk, "url": receiver.url, "events": ["analysis.failed"]}
    made = ada.send("POST", "/webhooks", body)
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    pk = made.json()["id"]
    listed = ada.send("GET", "/webhooks").json()["results"]
    assert [row["id"] for row in listed] == [pk] and "secret" not in listed[0]
    assert "secret" not in ada.send("GET", f"/webhooks/{pk}").json()
    refused(ben.send("GET", f"/webhooks/{pk}"), 404, "not_found")
    refused(ben.send("POST", "/webhooks", body), 404, "not_found")
    Membership.objects.create(collection=collection, user=people["ben"], role="editor")
    refused(ben.send("POST", "/webhooks", body), 403, "forbidden")
    refused(ada.send("POST", "/webhooks", {**body, "events": ["x"]}), 400, "field_invalid")
    fail_one(collection)
    delivery.deliver_due()
    told = ada.send("GET", f"/webhooks/{pk}/deliveries").json()["results"]
    assert told[0]["status"] == 200 and told[0]["body"]["state"] == "failed"
    assert ada.send("DELETE", f"/webhooks/{pk}").status_code == 204
    assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_tells_at_once(collection, hook, receiver, worker):
    """From the upload to the receiver, through the queue, with a worker of the hooks' own."""
    teller = start_worker("hooks", PAYSAGE_WEBHOOK_PRIVATE="1", DATABASE_URL=database_url())
    try:
        image = store(collection, encoded(scene(9)))
        assert await_final(image).state == "done"
        deadline = timezone.now() + timedelta(seconds=45)
        while not receiver.heard and timezone.now() < deadline:
            threading.Event().wait(0.1)
        told = json.loads(receiver.heard[0][1])
        assert told["event"] == "analysis.done" and told["image"] == str(image.pk)
    finally:
        teller.terminate()
        teller.wait(30)
    assert delivery.expire() == 0
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=15))
    assert delivery.expire() == 1
