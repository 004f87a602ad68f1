"""The pages by feature, in a real browser."""

from __future__ import annotations

import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import encoded, scene
from tests.pages_world import picture_bytes, upload_twelve
from tests.platform import Platform, shot, sign_in


@pytest.fixture(scope="module")
def gallery(signed_in: Page, platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a collection of twelve parsed pictures."""
    return upload_twelve(signed_in, platform, tmp_path_factory.mktemp("pictures"), "Twelve")


def titles(page: Page) -> list[str]:
    return [str(t.get_attribute("title")) for t in page.locator("#gallery li:visible .tile").all()]


def pick(page: Page, *places: int) -> None:
    for place in places:
        page.locator("#gallery li .pick").nth(place).check(force=True)


# --- gallery -----------------------------------------------------------------------------------


def test_rows_are_justified(signed_in: Page, gallery: str) -> None:
    signed_in.goto(gallery)
    shapes = signed_in.evaluate(
        "[...document.querySelectorAll('#gallery li')].map(e => {const r = e.getBoundingClientRect();"
        "return [Math.round(r.top), Math.round(r.height), e.dataset.ratio]})"
    )
    first = [height for top, height, _ in shapes if top == shapes[0][0]]
    assert len(first) > 1 and max(first) - min(first) <= 2, shapes
    shot(signed_in, "gallery")


def test_filter_sort_and_chips(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(f"{gallery}?sort=title")
    assert titles(page) == sorted(titles(page))
    page.goto(f"{gallery}?text=scene-0&sort=oldest")
    assert len(titles(page)) == 10
    page.get_by_role("link", name="scene-0 ×").click()
    expect(page.locator("#gallery .tile")).to_have_count(12)
    page.goto(f"{gallery}?class=nothing")
    expect(page.get_by_role("alert")).to_contain_text("no class 'nothing'")


def test_select_tag_and_filter_by_tag(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(f"{gallery}?sort=title")
    pick(page, 0)
    page.locator("#gallery li .pick").nth(3).click(force=True, modifiers=["Shift"])
    expect(page.locator("#selected")).to_have_text("4 selected")
    page.get_by_role("toolbar").get_by_role("button", name="Tag").click()
    page.get_by_label("Add, by comma").fill("north, <b>bold</b>")
    page.get_by_role("dialog").get_by_role("button", name="Tag").click()
    expect(page.locator("#notices")).to_contain_text("4 pictures tagged")
    page.goto(f"{gallery}?tag=north&sort=title")
    assert titles(page) == [f"scene-{n:02}.jpg" for n in range(4)]


def test_drag_selects(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(gallery)
    page.locator("#gallery").scroll_into_view_if_needed()
    box = page.locator("#gallery li").nth(0).bounding_box()
    assert box
    # between two tiles there is a gap of 6 px: dragging begins on the list itself
    x, y = box["x"] + box["width"] + 3, box["y"] + 10
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 30, steps=4)
    page.mouse.up()
    expect(page.locator("#selected")).to_have_text("1 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()


def test_delete_and_undo(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(f"{gallery}?sort=title")
    pick(page, 10, 11)
    page.get_by_role("toolbar").get_by_role("button", name="Delete").click()
    expect(page.locator("#notices")).to_contain_text("2 pictures deleted")
    expect(page.locator("#progress")).to_contain_text("10 of 10 parsed")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#progress")).to_contain_text("12 of 12 parsed")
    page.reload()
    expect(page.locator("#gallery .tile")).to_have_count(12)


def test_move_and_download(signed_in: Page, gallery: str, platform: Platform) -> None:
    page = signed_in
    page.goto(platform.url)
    page.get_by_label("New collection").fill("Other")
    page.get_by_role("button", name="Make it").click()
    page.wait_for_url("**/collections/*")
    other = page.url
    page.goto(f"{gallery}?sort=title")
    pick(page, 0, 1)
    with page.expect_download() as download:
        page.get_by_role("toolbar").get_by_role("button", name="Download").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    kinds = sorted(name.split("/")[0] for name in archive.namelist())
    assert kinds == ["masks", "masks", "pictures", "pictures", "pictures.csv"]
    assert "sky" in archive.read("pictures.csv").decode("utf-8-sig").splitlines()[0]
    page.get_by_role("toolbar").get_by_role("button", name="Move").click()
    page.get_by_label("Into").select_option(label="Other")
    page.get_by_role("dialog").get_by_role("button", name="Move").click()
    expect(page.locator("#notices")).to_contain_text("2 pictures moved")
    page.goto(other)
    expect(page.locator("#gallery .tile img")).to_have_count(2)
    page.locator("#select-all").dispatch_event("click")
    page.get_by_role("toolbar").get_by_role("button", name="Move").click()
    page.get_by_label("Into").select_option(label="Twelve")
    page.get_by_role("dialog").get_by_role("button", name="Move").click()
    page.wait_for_load_state()
    expect(page.locator("#nothing")).to_be_visible()


def until(page: Page, selector: str, seconds: float = 60) -> None:
    """Load the page anew until it has what another process is making."""
    end = time.monotonic() + seconds
    while not page.query_selector(selector):
        assert time.monotonic() < end, f"no {selector} on {page.url}"
        time.sleep(0.5)
        page.reload()


def test_endless_scrolling_keeps_its_place(signed_in: Page, platform: Platform) -> None:
    page = signed_in
    page.goto(platform.url)
    page.get_by_text("Demo: rendered scenes").click()
    until(page, "#gallery .more")  # the demo may be loading still
    page.mouse.wheel(0, 30_000)
    page.wait_for_function("() => document.querySelectorAll('#gallery li[data-id]').length > 60")
    page.locator("#gallery li[data-address]").first.scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_function("() => location.search.includes('after=')")
    kept = page.url
    page.goto(platform.url)
    page.goto(kept)
    expect(page.get_by_text("To the beginning")).to_be_visible()


# --- uploads -----------------------------------------------------------------------------------


def test_an_upload_goes_on_after_a_closed_tab(
    browser: Browser, platform: Platform, gallery: str, tmp_path: Path
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    sign_in(page, platform)
    page.goto(platform.url)
    page.get_by_label("New collection").fill("Broken off")
    page.get_by_role("button", name="Make it").click()
    page.wait_for_load_state()
    where = page.url
    large = tmp_path / "large.png"  # noise does not compress: several parts
    large.write_bytes(encoded(noise(1500), "PNG"))
    assert large.stat().st_size > 5_000_000
    sent: list[str] = []

    def cut(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        if request.method == "PATCH" and request.headers.get("upload-offset") != "0":
            route.abort()  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    page.route("**/api/v1/uploads/*", cut)
    page.set_input_files("#drop input[type=file] >> nth=0", str(large))
    page.wait_for_function("() => document.querySelector('#uploads progress').value > 0.2")
    page.wait_for_timeout(500)
    page.close()  # the tab, in the middle of it

    again = context.new_page()
    again.set_default_timeout(60_000)
    again.on(
        "request",
        lambda r: sent.append(r.headers.get("upload-offset", "")) if r.method == "PATCH" else None,
    )
    again.goto(where)
    expect(again.locator("#upload-total")).to_contain_text("1 of 1 uploaded")
    assert sent and "0" not in sent, "it began anew instead of going on"
    expect(again.locator("#gallery .tile img")).to_have_count(1)
    context.close()


def noise(side: int):
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_paste_duplicates_and_pause(signed_in: Page, gallery: str, tmp_path: Path) -> None:
    page = signed_in
    page.goto(gallery)
    page.wait_for_function("() => document.readyState === 'complete'")
    page.get_by_role("group").first.wait_for(state="attached")
    same = tmp_path / "again.jpg"
    same.write_bytes(picture_bytes(0))
    page.set_input_files("#drop input[type=file] >> nth=0", str(same))
    expect(page.locator("#uploads li")).to_contain_text("is here already")
    data = list(encoded(scene(777)))
    page.evaluate(
        "(bytes) => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(bytes)], 'pasted.jpg', {type: 'image/jpeg'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true})); }",
        data,
    )
    expect(page.locator("#uploads li")).to_have_count(2)
    expect(page.locator("#uploads li").nth(1)).to_contain_text("stored")
    expect(page.locator("#progress")).to_contain_text("13 of 13 parsed")


# --- a picture ---------------------------------------------------------------------------------


def test_the_viewer(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(f"{gallery}?sort=newest")
    page.locator("#gallery .tile").nth(4).click()
    expect(page.locator("#mask[data-ready]")).to_be_visible()
    shown = (
        "() => { const c = document.getElementById('mask');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"
    )
    everything = page.evaluate(shown)
    page.locator(".legend li").last.hover()
    assert 0 < page.evaluate(shown) < everything / 2
    page.keyboard.press("o")
    page.mouse.move(0, 0)
    assert 0 < page.evaluate(shown) < everything / 2
    page.keyboard.press("m")
    page.locator("#mask").click()
    expect(page.locator("#segment")).to_contain_text("%")
    page.keyboard.press("c")
    expect(page.locator("#confidence")).to_be_visible()
    page.wait_for_function("() => document.getElementById('confidence').naturalWidth > 0")
    page.keyboard.press("+")
    page.wait_for_function(
        "() => document.querySelector('.glued').style.transform.includes('scale(1.')"
    )
    before = page.url
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: url != before)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(before)
    shot(page, "viewer")


def test_how_it_was_parsed(signed_in: Page, gallery: str) -> None:
    page = signed_in
    page.goto(gallery)
    page.locator("#gallery .tile").first.click()
    page.get_by_role("link", name="How it was parsed").click()
    expect(page.locator(".stages figure")).to_have_count(13)
    for text in ("Pyramid level", "80 × 6 × 6", "Layout vector", "The nearest pictures"):
        expect(page.locator("#stages")).to_contain_text(text)
    shot(page, "explained")


# --- searching ---------------------------------------------------------------------------------


def test_words_become_chips(signed_in: Page, platform: Platform) -> None:
    page = signed_in
    page.goto(f"{platform.url}/search")
    page.get_by_label("In words").fill("street with trees, no boat, very festive")
    page.get_by_label("In words").press("Enter")
    expect(page.locator("#chips")).to_contain_text("no boat")
    expect(page.locator("#unused")).to_contain_text("festive")
    expect(page.locator("#hits .hit").first).to_be_visible()
    expect(page.locator("#count")).to_contain_text(re.compile("pictures? match"))


def test_painting_with_keys_undo_and_the_address(signed_in: Page, platform: Platform) -> None:
    page = signed_in
    page.goto(f"{platform.url}/search")
    page.locator("#paint-box summary").click()
    cell = page.locator('.canvas [data-row="0"][data-column="0"]')
    cell.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("#chips")).to_contain_text("2 painted cells")
    page.keyboard.press("z")
    expect(page.locator("#chips")).to_contain_text("1 painted cell")
    page.locator("[data-brush=grass]").click()
    page.get_by_label("Tool").select_option("fill")
    page.locator('.canvas [data-row="7"][data-column="7"]').click()
    expect(page.locator("#chips")).to_contain_text("64 painted cells")
    expect(page.locator("#hits .hit").first).to_be_visible()
    shot(page, "painting")
    address = page.url
    page.goto(platform.url)
    page.goto(address)
    expect(page.locator("#chips")).to_contain_text("64 painted cells")
    page.go_back()


def test_regions_feedback_and_reasons_that_add_up(
    signed_in: Page, platform: Platform, gallery: str
) -> None:
    page = signed_in
    page.goto(gallery)
    page.locator("#gallery .tile").first.click()
    page.get_by_role("link", name="Search with it").click()
    expect(page.locator("#hits .hit").first).to_be_visible()
    page.locator("#hits .hit .tile").first.click()
    expect(page.locator("#compare .pairs")).to_be_visible()
    rows = page.locator("#compare .pairs tr td:last-child").all_inner_texts()
    context = float(page.locator("#compare .scores tr").first.locator("td").first.inner_text())
    assert abs(sum(map(float, rows)) - context) < 0.01, (rows, context)
    shot(page, "compare")
    page.keyboard.press("Escape")

    page.locator("#hits .hit").nth(1).hover()
    page.locator("#hits .hit").nth(1).get_by_role("button", name=re.compile("^Less like")).click()
    expect(page.locator("#chips")).to_contain_text("unlike")
    page.get_by_role("button", name="Only a part").first.click()
    page.locator("#pick .chip").first.click()
    page.get_by_role("button", name="Search with this part").click()
    expect(page.locator("#hits .outline").first).to_be_attached()
    expect(page.locator("#chips")).to_contain_text("a segment of")


def test_ranges_count_at_once_and_searches_are_saved(signed_in: Page, platform: Platform) -> None:
    page = signed_in
    page.goto(f"{platform.url}/search?class=sky&min=30&max=")
    expect(page.locator("#count")).to_contain_text(re.compile("pictures? match"))
    expect(page.locator(".histogram rect.inside").first).to_be_attached()
    before = int(page.locator("#count").inner_text().split()[0])
    page.get_by_label("sky: at least").evaluate(
        "e => { e.value = 0.6; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }"
    )
    page.wait_for_function(
        f"() => parseInt(document.getElementById('count').textContent) < {before}"
    )
    page.locator("#save-name").fill("Much sky")
    page.get_by_role("button", name="Save this one").click()
    expect(page.locator("#saved")).to_contain_text("Much sky")
    page.goto(f"{platform.url}/search")
    page.get_by_role("link", name="Much sky").click()
    expect(page.locator("#chips")).to_contain_text("sky ≥ 60 %")
