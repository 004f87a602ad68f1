"""A collection of twelve parsed pictures, made on the pages as a person does: photographs where they are."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import SHARED, encoded, scene
from tests.platform import Platform


def picture_bytes(number: int) -> bytes:
    """A file of the collection, by its place."""
    photos = sorted((SHARED / "photos").glob("*.jpg"))[::40]
    size = ((320, 240), (240, 320), (480, 200))[number % 3]
    return photos[number].read_bytes() if photos else encoded(scene(number + 300, size))


def upload_twelve(page: Page, platform: Platform, folder: Path, name: str) -> str:
    """Address of a new collection of twelve parsed pictures."""
    for number in range(12):
        (folder / f"scene-{number:02}.jpg").write_bytes(picture_bytes(number))
    page.goto(platform.url)
    page.get_by_label("New collection").fill(name)
    page.get_by_role("button", name="Make it").click()
    page.set_input_files("#drop input[type=file] >> nth=0", sorted(map(str, folder.iterdir())))
    expect(page.locator("#upload-total")).to_contain_text("12 of 12 uploaded")
    expect(page.locator("#progress")).to_contain_text("12 of 12 parsed", timeout=120_000)
    expect(page.locator("#gallery .tile img")).to_have_count(12)
    return page.url
