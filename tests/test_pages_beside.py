"""The pages beside the pictures: jobs and tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import encoded, scene
from tests.platform import Platform


def test_jobs_say_why_and_try_again(signed_in: Page, platform: Platform, tmp_path: Path) -> None:
    page = signed_in
    page.goto(platform.url)
    page.get_by_label("New collection").fill("Truncated")
    page.get_by_role("button", name="Make it").click()
    broken = tmp_path / "cut.jpg"
    whole = encoded(scene(901, (640, 480)))
    broken.write_bytes(whole[: len(whole) // 2])
    page.set_input_files("#drop input[type=file] >> nth=0", str(broken))
    expect(page.locator("#progress")).to_contain_text("1 could not be")
    page.get_by_role("navigation", name="This collection").get_by_role("link", name="Jobs").click()
    expect(page.locator(".reasons")).to_contain_text("image_truncated")
    page.locator("input[name=job]").first.check()
    page.get_by_role("button", name="Try ticked ones again").click()
    expect(page.get_by_role("status").first).to_contain_text("1 picture is parsed again")
    expect(page.locator(".reasons")).to_contain_text("image_truncated")  # refused again


def test_a_token_is_shown_once_and_works(signed_in: Page, platform: Platform) -> None:
    import urllib.error
    import urllib.request

    page = signed_in
    page.goto(f"{platform.url}/account")
    page.get_by_label("Name").fill("reader")
    page.get_by_role("button", name="Make a token").click()
    token = page.get_by_label("Token", exact=True).input_value()
    request = urllib.request.Request(
        f"{platform.url}/api/v1/classes", headers={"Authorization": f"Token {token}"}
    )
    assert json.load(urllib.request.urlopen(request))
    page.goto(f"{platform.url}/account")
    assert token not in page.content()
    page.get_by_role("button", name="Revoke").first.click()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 401
