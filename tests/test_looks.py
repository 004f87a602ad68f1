"""All pages in both languages and colours, wide and narrow, checked by axe-core and by weight."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Browser, Page, expect

from tests.pages_world import upload_twelve
from tests.platform import Platform, listen, shot, sign_in

AXE = Path(sys.prefix) / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def gallery(signed_in: Page, platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a collection of twelve parsed pictures."""
    return upload_twelve(signed_in, platform, tmp_path_factory.mktemp("pictures"), "Looks")


@pytest.fixture(scope="module")
def addresses(signed_in: Page, gallery: str) -> dict[str, str]:
    signed_in.goto(gallery)
    picture = signed_in.locator("#gallery .tile").first.get_attribute("href")
    assert picture
    path = "/" + gallery.split("/", 3)[3]
    return {
        "home": "/",
        "tour": "/?tour",
        "gallery": path,
        "explore": f"{path}/explore",
        "alike": f"{path}/alike",
        "image": picture,
        "explained": f"{picture}/explained",
        "search": f"/search?image={picture.rsplit('/', 1)[1]}",
        "jobs": "/jobs",
        "account": "/account",
        "api": "/api/v1/docs",
        "lost": "/collections/999999",
    }


LOOKS = [
    pytest.param(("light", 1280, "en"), id="light-wide"),
    pytest.param(("dark", 360, "zh-hans"), id="dark-narrow-chinese"),
]


@pytest.fixture(scope="module", params=LOOKS)
def look(
    request: pytest.FixtureRequest, browser: Browser, platform: Platform
) -> Iterator[tuple[Page, str]]:
    scheme, width, language = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60_000)
    complaints = listen(page)
    sign_in(page, platform)
    if language != "en":
        page.get_by_label("Language").select_option(language)
        page.wait_for_function("() => document.documentElement.lang === 'zh-hans'")
    yield page, f"{scheme}-{width}-{language}"
    context.close()
    assert not complaints, complaints


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is installed by make")
def test_axe_finds_nothing_serious(
    look: tuple[Page, str], addresses: dict[str, str], platform: Platform
) -> None:
    page, name = look
    found = {}
    for key, path in addresses.items():
        page.goto(platform.url + path)
        page.wait_for_load_state("networkidle")
        shot(page, f"{key}-{name}")
        page.evaluate(AXE.read_text())
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (v["id"], v["nodes"][0]["html"][:160])
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        if serious:
            found[key] = serious
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 1, f"{key} is {wide} px wider than the window"
    assert not found, found


def test_chinese_pages_have_no_english_left(
    browser: Browser, addresses: dict[str, str], platform: Platform
) -> None:
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{platform.url}/sign-in")
    page.locator("[name=username]").fill("admin")
    page.locator("[name=password]").fill(platform.password)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(f"{platform.url}/")
    # names people gave, units and codes are nobody's to translate
    known = re.compile(
        r"\b(Paysage|English|admin|PSPNet|Authorization|Token|API|JPEG|PNG|WebP|MB|KB|px|Esc|Euclidean"
        r"|starter|cosine|euclidean|ms|MobileNetV2|jpg|png|m|o|c|p|e|z|x|s)\b"
    )
    left = {}
    for key in ("home", "tour", "lost", "image", "explained", "search", "jobs", "account"):
        page.goto(platform.url + addresses[key])
        page.wait_for_load_state("networkidle")
        # titles of pictures are nobody's to translate
        page.evaluate("document.querySelectorAll('table.jobs td a').forEach((e) => e.remove())")
        text = page.locator("body").inner_text()
        for name in (
            "Twelve",
            "Looks",
            "Examples",
            "With curl",
            "examples",
            "Other",
            "Broken off",
            "Truncated",
            "Demo: rendered scenes",
            "First steps",
            "Much sky",
            "reader",
            "chunked",
        ):
            text = text.replace(name, "")
        text = re.sub(r"[\w-]+\.(jpg|png)|[0-9a-f-]{36}|image_\w+|not_found", "", text)
        words = re.findall(r"\b[A-Za-z]{2,}\b", known.sub("", text))
        if words:
            left[key] = words[:20]
    context.close()
    assert not left, left


def test_pages_weigh_little(
    browser: Browser, addresses: dict[str, str], platform: Platform
) -> None:
    for key in ("home", "gallery", "image", "search"):
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        sign_in(page, platform)
        page.close()
        page = context.new_page()
        sizes: dict[str, int] = {}
        page.on(
            "requestfinished",
            lambda r, sizes=sizes: (
                sizes.__setitem__(r.url, r.sizes()["responseBodySize"])
                if r.resource_type in ("document", "script", "stylesheet")
                else None
            ),
        )
        page.goto(platform.url + addresses[key])
        page.wait_for_load_state("networkidle")
        assert sizes and sum(sizes.values()) < 200_000, sizes
        elsewhere = [url for url in sizes if not url.startswith(platform.url)]
        assert not elsewhere
        context.close()


# --- the tour ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_tour_is_shown_at_the_first_sign_in_alone(client: Client) -> None:
    get_user_model().objects.create_user("newcomer", password="long enough 7")

    def visit() -> str:
        name = {"username": "newcomer", "password": "long enough 7"}
        return client.post("/sign-in", name, follow=True).content.decode()

    assert 'id="tour"' in visit()
    assert 'id="tour"' not in client.get("/").content.decode()  # not again on a reload
    client.post("/sign-out")
    assert 'id="tour"' not in visit()
    assert 'id="tour"' in client.get("/?tour").content.decode()


def test_the_tour_points_at_things_and_can_be_left(signed_in: Page, platform: Platform) -> None:
    page = signed_in
    page.goto(f"{platform.url}/account")
    page.get_by_role("link", name="Take the tour").click()
    card = page.get_by_role("dialog", name="Welcome to Paysage")
    expect(card).to_be_focused()
    seen = []
    for _ in range(6):
        seen.append(page.locator("#tour-title").inner_text())
        expect(page.locator(".pointed")).to_have_count(1)
        expect(page.locator("#tour")).to_be_in_viewport(ratio=1)
        page.locator("#tour [data-do=next]").click()
    assert len(set(seen)) == 6, seen
    expect(page.locator("#tour")).to_have_count(0)
    expect(page.locator(".pointed")).to_have_count(0)
    page.goto(f"{platform.url}/?tour")
    page.keyboard.press("Escape")
    expect(page.locator("#tour")).to_have_count(0)
    page.reload()
    expect(page.locator("#tour")).to_have_count(0)
