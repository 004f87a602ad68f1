"""The schema is valid, its page works, a client made from it works, and endpoints keep to it."""

from __future__ import annotations

import importlib
import io
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from django.core.cache import cache
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from playwright.sync_api import Browser, expect
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from retrieval.services import create_token
from retrieval.wsgi import application
from tests.access_world import places_fixture  # noqa: F401
from tests.conftest import encoded, scene
from tests.platform import Platform, listen
from tests.search_world import world_fixture  # noqa: F401

EXAMPLES = 10
"""Cases of each operation."""
_CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
_OFFSET_STREAM = "application/offset+octet-stream"
# The types that openapi-python-client does not know, as bytes.
_BYTES = {"image/png": "application/octet-stream"}
_BYTES |= {_OFFSET_STREAM: "application/octet-stream"}

schemathesis.serializer.alias(_OFFSET_STREAM, "application/octet-stream")
schemathesis.openapi.media_type(_OFFSET_STREAM, st.binary(max_size=64))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema as `manage.py spectacular` writes it; any warning fails."""
    path = tmp_path_factory.mktemp("schema") / "paysage.json"
    options = {"validate": True, "fail_on_warn": True, "format": "openapi-json"}
    call_command("spectacular", file=str(path), **options)
    return path


def test_the_schema_is_openapi_3_1_with_examples(written: Path) -> None:
    schema = json.loads(written.read_text())
    assert schema["openapi"] == "3.1.0"
    operations = [one for path in schema["paths"].values() for one in path.values()]
    assert len(operations) > 60
    tags = {tag["name"] for tag in schema["tags"]}
    for operation in operations:
        assert set(operation["tags"]) <= tags, operation["operationId"]
        assert operation["summary"] and operation["description"], operation["operationId"]
    bodies = [o["requestBody"]["content"] for o in operations if "requestBody" in o]
    untyped = [b for b in bodies if "$ref" not in json.dumps(b) and "octet" not in json.dumps(b)]
    assert not untyped


def test_every_json_body_has_an_example_that_is_true_to_its_shape(written: Path) -> None:
    schema = json.loads(written.read_text())
    checked, without = 0, []
    for operation in (one for path in schema["paths"].values() for one in path.values()):
        good = [answer for status, answer in operation["responses"].items() if status[0] == "2"]
        for holder in (operation.get("requestBody", {}), *good):
            content = holder.get("content", {}).get("application/json")
            if content is None:
                continue
            if not content.get("examples"):
                without.append(operation["operationId"])
            for example in content.get("examples", {}).values():
                inline = {**content["schema"], "components": schema["components"]}
                jsonschema.validate(example["value"], inline)
                checked += 1
    assert not without, without
    assert checked > 60


# --- the page ----------------------------------------------------------------------------------


def test_the_page_shows_the_schema_under_the_content_policy_of_all(
    platform: Platform, browser: Browser
) -> None:
    page = browser.new_page(color_scheme="dark")
    complaints, asked = listen(page), []
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(f"{platform.url}/api/v1/docs")
    assert answer is not None and answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "script-src 'self'" in policy
    tag = page.locator("h3[data-tag=images]")
    tag.click()
    page.locator("[id$=change_images]").first.click()
    expect(page.get_by_text("Changes those of the named pictures").first).to_be_visible()
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_role("dialog").or_(page.locator(".modal-ux")).first).to_be_visible()
    assert all(url.startswith((platform.url, "data:", "blob:")) for url in asked), asked
    assert not complaints, complaints
    page.close()


# --- a client made from the schema -------------------------------------------------------------


@pytest.fixture(scope="module")
def made(written: Path) -> Iterator[ModuleType]:
    """The package that openapi-python-client writes of the schema."""
    folder = written.parent
    config = folder / "config.json"
    config.write_text(json.dumps({"content_type_overrides": _BYTES, "post_hooks": []}))
    tool = Path(sys.executable).with_name("openapi-python-client")
    command = [str(tool), "generate", "--path", str(written), "--config", str(config)]
    command += ["--meta", "none", "--output-path", str(folder / "paysage_client")]
    done = subprocess.run([*command, "--fail-on-warning"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("paysage_client")
    sys.path.remove(str(folder))


def _call(name: str, **values: Any) -> Any:
    """What an endpoint's function of the generated client answers."""
    return importlib.import_module(f"paysage_client.api.{name}").sync(**values)


def test_a_generated_client_uploads_waits_searches_and_reads_masks(
    made: ModuleType, platform: Platform
) -> None:
    models = importlib.import_module("paysage_client.models")
    types = importlib.import_module("paysage_client.types")
    asked = models.TokenRequest(username="admin", password=platform.password, name="generated")
    stranger = made.Client(base_url=platform.url)
    token = _call("tokens.create_token", client=stranger, body=asked)
    client = made.AuthenticatedClient(
        base_url=platform.url, token=token.token, timeout=httpx.Timeout(60)
    )
    body = models.CollectionRequest(name="Generated")
    collection = _call("collections.create_collection", client=client, body=body)
    data = encoded(scene(11))
    file = types.File(payload=io.BytesIO(data), file_name="a.jpg", mime_type="image/jpeg")
    form = models.UploadRequest(file=file, collection=collection.id, tags="made")
    image = _call("images.upload_image", client=client, body=form, idempotency_key="generated-1")
    assert isinstance(image, models.Image) and image.tags == ["made"], image
    found = _wait(client, image.id)
    assert found.state.value == "done", found
    query = models.Query.from_dict({"like": [{"image": str(image.id)}], "limit": 5})
    answer = _call("searches.search", client=client, body=query)
    assert isinstance(answer, models.SearchAnswer) and len(answer.results) <= 5, answer
    areas = _call("findings.get_areas", client=client, id=image.id)
    query = models.Query.from_dict(
        {
            "classes": [{"name": areas.results[0].name, "min": 0.01}],
            "where": {"collections": [collection.id]},
        }
    )
    assert [hit.id for hit in _call("searches.search", client=client, body=query).results] == [
        image.id
    ]
    mask = _call("findings.get_mask", client=client, id=image.id)
    with Pillow.open(mask.payload) as picture:
        assert picture.format == "PNG" and picture.mode == "P"
    polygons = _call("findings.get_mask_polygons", client=client, id=image.id)
    assert sum(one.area for one in polygons.annotations) == polygons.width_px * polygons.height_px
    refused = _call("images.get_image", client=stranger, id=image.id)
    assert refused.error.code == "not_signed_in"


def _wait(client: Any, pk: Any) -> Any:
    import time

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = _call("findings.get_analysis", client=client, id=pk)
        if found.state.value not in ("queued", "running"):
            return found
        time.sleep(0.2)
    raise AssertionError("not parsed")


# --- endpoints keep to the schema --------------------------------------------------------------


@pytest.fixture
def one_connection(db: None) -> Iterator[None]:
    """Requests leave the test's own connection open, as Django's test client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def _headers(user: Any) -> dict[str, str]:
    return {"Authorization": f"Token {create_token(user, 'property')}"}


def _known(path: str, places: dict[str, Any]) -> dict[str, Any]:
    """What there is in the world for the parameters of a path."""
    path = path.removeprefix("/api/v1/")
    kinds = {"collections": "collection", "images": "image", "webhooks": "webhook"}
    kinds |= {"tokens": "token", "uploads": "upload", "duplicates": "pair"}
    kinds |= {"searches/saved": "saved", "searches": "image", "undo": "nothing"}
    kind = next(place for start, place in kinds.items() if path.startswith(start))
    return {"id": places[kind], "key": places["nothing"], "username": "member"}


def _point(case: Any, places: dict[str, Any]) -> None:
    """Let a case name things that there are, in its path, its query and its body."""
    if case.path_parameters:
        known = _known(case.operation.path, places)
        case.path_parameters = {name: known[name] for name in case.path_parameters}
    for values in (case.query, case.body):
        for name in ("collection", "image") if isinstance(values, dict) else ():
            if name in values:
                values[name] = places[name]


def _error_shape(response: Any, path: str) -> None:
    """Every refusal has the one shape; the health of a sick platform is no refusal."""
    if response.status_code < 400 or path.endswith("/health"):
        return
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}, error
    assert error["code"] and error["message"] and error["request_id"], error


def _try(operation: Any, places: dict[str, Any], headers: dict[str, str]) -> Counter[int]:
    """Ask an operation what its schema allows, about things that exist and that do not."""
    statuses: Counter[int] = Counter()
    found = operation.as_strategy()

    @seed(3)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=found, exists=st.booleans())
    def ask(case: Any, exists: bool) -> None:
        if exists:
            _point(case, places)
        cache.clear()  # no throttle in the way
        with transaction.atomic():  # each case meets the same world
            response = case.call(headers=headers)
            transaction.set_rollback(True)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=_CHECKS)
        _error_shape(response, operation.path)

    ask()
    return statuses


@pytest.mark.usefixtures("one_connection")
def test_no_request_of_the_schema_breaks_an_endpoint(places: dict[str, Any]) -> None:
    random.seed(3)
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema?format=json", application)
    headers = _headers(places["people"]["owner"])
    seen: dict[str, Counter[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        seen[operation.label] = _try(operation, places, headers)
    total = sum(seen.values(), Counter())
    assert len(seen) > 60 and sum(total.values()) > 4 * len(seen)
    assert not any(status >= 500 for status in total), total
    answered = [name for name, statuses in seen.items() if any(s < 300 for s in statuses)]
    assert len(answered) > 0.6 * len(seen), {n: dict(s) for n, s in seen.items()}


@pytest.mark.usefixtures("one_connection")
def test_what_one_answer_names_the_next_request_finds(places: dict[str, Any]) -> None:
    """Follow the schema's links: make, read what was made, remove it, and so on."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema?format=json", application)
    headers, seen = _headers(places["people"]["owner"]), Counter[tuple[str, int]]()

    class Links(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.world = transaction.atomic()  # each story begins in the same one
            self.world.__enter__()

        def teardown(self) -> None:
            transaction.set_rollback(True)
            self.world.__exit__(None, None, None)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            cache.clear()
            return {"headers": headers}

        def validate_response(self, response: Any, case: Any, *args: Any, **kwargs: Any) -> None:
            case.validate_response(response, checks=_CHECKS)
            _error_shape(response, case.operation.path)
            seen[case.operation.label, response.status_code] += 1

    Links.run(
        settings=settings(
            max_examples=25,
            stateful_step_count=8,
            database=None,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )
    assert not [key for key in seen if key[1] >= 500]
    followed = {label for label, status in seen if "{id}" in label and status < 300}
    assert len(followed) >= 3, seen
