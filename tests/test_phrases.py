"""No error is said in the wrong language."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils.translation import gettext, override

from retrieval.phrases import MESSAGES, said
from tests.messages import templates

# Made elsewhere than where an error is constructed: by SQL, by exceptions that workers keep to
# themselves, by the last resort and by the unknown route.
MADE_OTHERWISE = {
    "Parsing this picture ended its worker {} times.",
    "Something went wrong here; the log has it under the request's id.",
    "The stored original is gone; upload the picture again.",
    "The stored original was altered on the disk; upload it again.",
    "The release's network cannot be loaded: {}",
    "There is no endpoint {}; /api/v1/docs shows those there are.",
}


def test_every_message_of_the_source_is_known_and_no_other() -> None:
    assert len(MESSAGES) == len(set(MESSAGES))
    assert templates() - set(MESSAGES) == set()
    assert set(MESSAGES) - templates() - MADE_OTHERWISE == set()


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_translated_with_all_its_values(message: str) -> None:
    with override("zh-hans"):
        translated = gettext(message)
        assert re.search(r"[\u4e00-\u9fff]", translated), message
        assert translated.count("{}") == message.count("{}")
        values = [f"<{place}>" for place in range(message.count("{}"))]
        assert said(message.format(*values)) == translated.format(*values)


def test_what_is_not_known_stays_as_it_is() -> None:
    with override("zh-hans"):
        assert said("CUDA said 7") == "CUDA said 7"
        assert said("") == ""
    with override("en"):
        assert said("The file is empty.") == "The file is empty."


@pytest.mark.django_db
def test_api_and_pages_answer_in_the_language_asked_for(client: Client) -> None:
    client.force_login(get_user_model().objects.create_user("reader"))
    for address in ("/api/v1/collections/999999", "/collections/999999"):
        asked = client.get(address, headers={"Accept-Language": "zh-hans"})
        assert "没有这个图集。" in asked.content.decode()
        assert "There is no such collection." in client.get(address).content.decode()
