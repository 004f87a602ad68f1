"""A collection of twelve parsed pictures, made on the pages as a person does."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import encoded, scene
from tests.platform import Platform


def upload_twelve(page: Page, platform: Platform, folder: Path, name: str) -> str:
    """Address of a new collection of twelve parsed pictures."""
    for seed in range(12):
        size = ((320, 240), (240, 320), (480, 200))[seed % 3]
        (folder / f"scene-{seed:02}.jpg").write_bytes(encoded(scene(seed + 300, size)))
    page.goto(platform.url)
    page.get_by_label("New collection").fill(name)
    page.get_by_role("button", name="Make it").click()
    page.set_input_files("#drop input[type=file] >> nth=0", sorted(map(str, folder.iterdir())))
    expect(page.locator("#upload-total")).to_contain_text("12 of 12 uploaded")
    expect(page.locator("#progress")).to_contain_text("12 of 12 parsed", timeout=120_000)
    expect(page.locator("#gallery .tile img")).to_have_count(12)
    return page.url
