"""A first visit, in a real browser, of the platform as `make run` starts it."""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path

import psutil
from playwright.sync_api import Page, expect

from tests.conftest import encoded, scene
from tests.platform import Platform, free_port, photographs, serve, shot


def test_a_first_visit(platform: Platform, page: Page, tmp_path: Path) -> None:
    files = photographs(tmp_path)
    page.goto(platform.url)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    shot(page, "sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(platform.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Collections")).to_be_visible()

    page.get_by_label("New collection").fill("First steps")
    page.get_by_role("button", name="Make it").click()
    broken = tmp_path / "notes.jpg"
    broken.write_text("this is no picture")
    page.set_input_files("#drop input[type=file]", [*map(str, files[:3]), str(broken)])
    expect(page.locator("#uploads li")).to_have_count(4)
    expect(page.locator("#uploads .refused")).to_contain_text("Only JPEG, PNG and WebP")
    expect(page.locator("#progress")).to_contain_text("3 of 3 parsed", timeout=90_000)
    expect(page.locator(".tile img")).to_have_count(3)
    shot(page, "collection")

    page.locator(".tile").first.click()
    expect(page.locator("#mask[data-ready]")).to_be_visible()
    expect(page.locator(".legend li").first).to_contain_text("%")
    page.locator("#opacity").fill("100")
    alpha = "document.getElementById('mask').getContext('2d').getImageData(5, 5, 1, 1).data[3]"
    page.wait_for_function(f"() => {alpha} === 255")
    shot(page, "image")

    page.get_by_role("link", name="Search", exact=True).click()
    page.set_input_files("#query-drop input[type=file]", str(files[3]))
    page.wait_for_url("**/search?q=*")
    expect(page.locator(".hits .tile").first).to_be_visible(timeout=90_000)
    expect(page.locator(".hits .tile").first).to_contain_text("context")
    expect(page.locator(".plan")).to_contain_text("exact")
    shot(page, "search")


def test_class_ranges_answer_exactly(platform: Platform, page: Page) -> None:
    page.goto(f"{platform.url}/search?class=sky&min=20&max=&class=car&min=&max=0")
    expect(page.locator(".plan")).to_contain_text("matching")
    shot(page, "ranges")
    page.goto(f"{platform.url}/search?class=sky&min=20&max=&class=skyy&min=10&max=")
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'sky'")


def test_the_demo_is_parsed_without_a_failure(platform: Platform, page: Page) -> None:
    page.goto(platform.url)
    page.get_by_text("Demo: rendered scenes").click()
    expect(page.locator("#progress")).to_contain_text("150 of 150 parsed", timeout=300_000)
    assert "could not be" not in page.locator("#progress").inner_text()
    expect(page.locator(".badge").first).to_have_text("rendered")
    shot(page, "demo")
    page.goto(platform.url)
    shot(page, "home")


def test_the_web_process_is_small(platform: Platform) -> None:
    web = [
        p
        for p in psutil.Process(platform.process.pid).children(recursive=True)
        if "gunicorn" in " ".join(p.cmdline())
    ]
    assert web
    for process in web:
        assert process.memory_info().rss < 200e6
        assert not any("libtorch" in m.path for m in process.memory_maps())


def test_a_second_platform_gets_a_clear_answer(platform: Platform) -> None:
    second = serve(platform.home, free_port())
    out, _ = second.communicate(timeout=30)
    assert second.returncode != 0 and "is in use by a running Paysage" in out
    assert "Traceback" not in out
    with tempfile.TemporaryDirectory() as other:
        port = int(platform.url.rsplit(":", 1)[1])
        third = serve(Path(other), port)
        out, _ = third.communicate(timeout=30)
        assert third.returncode != 0 and f"port {port}" in out and "set PORT" in out


def test_health(platform: Platform) -> None:
    with urllib.request.urlopen(f"{platform.url}/healthz") as answer:
        assert answer.status == 200


def test_chunked_uploads_are_counted_while_they_stream(platform: Platform) -> None:
    import http.client
    import json

    host = platform.url.removeprefix("http://")

    def send(path: str, body: object, kind: str, token: str = "") -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection(host, timeout=60)
        headers = {"Content-Type": kind, **({"Authorization": f"Token {token}"} if token else {})}
        connection.request("POST", path, body=body, headers=headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    sign_in = json.dumps({"username": "admin", "password": platform.password})
    status, body = send("/api/v1/tokens", sign_in, "application/json")
    assert status == 201
    token = str(body["token"])
    name = json.dumps({"name": "chunked"})
    _, made = send("/api/v1/collections", name, "application/json", token)

    def form(data: bytes):
        # an iterator has no length, so http.client sends it in chunks
        yield (
            f'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\n{made["id"]}\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        ).encode()
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]
        yield b"\r\n--b--\r\n"

    kind = "multipart/form-data; boundary=b"
    status, body = send("/api/v1/images", form(encoded(scene(77))), kind, token)
    assert status == 201, body
    too_much = form(b"\xff\xd8\xff" + b"x" * 20_500_000)
    status, body = send("/api/v1/images", too_much, kind, token)
    assert status == 413 and body["error"]["code"] == "file_too_large"  # type: ignore[index]
