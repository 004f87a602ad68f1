"""What goes wrong before or beyond a page's own code is told like everything else."""

from __future__ import annotations

import io

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guest() -> Client:
    """A browser, to which errors are answered as in production."""
    cache.clear()
    return Client(raise_request_exception=False)


@pytest.fixture
def database_gone(people):
    """The database does not answer, for as long as the test asks pages."""
    connection.close()
    host = connection.settings_dict["HOST"]
    connection.settings_dict["HOST"] = "/nowhere"
    yield
    connection.close()
    connection.settings_dict["HOST"] = host


def test_without_a_database_pages_say_so(guest, database_gone):
    guest.cookies["sessionid"] = "x" * 32
    for address in ("/sign-in", "/search", "/jobs"):
        answer = guest.get(address)
        text = answer.content.decode()
        assert (answer.status_code, answer["Retry-After"]) == (503, "5"), address
        assert "The database does not answer" in text and "Traceback" not in text
    answer = guest.get("/search", headers={"Accept": "application/json"})
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert answer.json()["error"]["request_id"]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_file_over_the_limit_is_refused_in_words_however_it_is_sent(people, settings, accept):
    browser = Client(raise_request_exception=False, enforce_csrf_checks=True)
    browser.force_login(people["ada"])
    browser.get(reverse("search"))  # gives the cookie that the form's token is compared with
    large = io.BytesIO(b"\xff\xd8\xff" + bytes(settings.MAX_UPLOAD_BYTES))
    large.name = "large.jpg"
    # Without the header the form itself is read for the token, before any view runs.
    answer = browser.post(
        reverse("search_upload"),
        {"csrfmiddlewaretoken": "x", "file": large},
        headers={"Accept": accept},
    )
    assert answer.status_code == 413
    text = answer.content.decode()
    assert f"over {settings.MAX_UPLOAD_BYTES // 1_000_000} MB" in text
    assert ("file_too_large" in text) and ("request" in text)


@pytest.mark.parametrize("address", ["/sign-in", "/admin/login/"])
def test_passwords_cannot_be_guessed_without_end(people, guest, address):
    wrong = {"username": "ada", "password": "wrong"}
    statuses = [guest.post(address, wrong).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    refused = guest.post(address, {"username": "ada", "password": "pw"})
    assert refused.status_code == 429 and 0 < int(refused["Retry-After"]) <= 60
    assert "Too many tries to sign in" in refused.content.decode()
    assert guest.get(address).status_code == 200


def test_signing_in_rightly_is_no_guess(people, guest):
    people["ada"].set_password("right horse")
    people["ada"].save()
    for _ in range(12):
        answer = guest.post("/sign-in", {"username": "ada", "password": "right horse"})
        assert answer.status_code == 302
        guest.logout()
