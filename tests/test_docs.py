"""What the documentation says is there: links, settings, commands, error codes, code."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from django.core.management import get_commands, load_command_class

from retrieval import errors
from retrieval.env import VARIABLES
from retrieval.webhooks.delivery import signature
from segmentation.__main__ import build_parser
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
ALL = "\n".join(TEXT.values())
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that code hosts give to headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text)]
    return {heading.replace(" ", "-") for heading in plain}


def test_every_link_leads_somewhere() -> None:
    dead, followed = [], 0
    for page, text in TEXT.items():
        for link in _LINK.findall(_FENCE.sub("", text)):
            if re.match(r"[a-z]+:", link):
                continue
            followed += 1
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            inside = target.exists() and target.is_relative_to(ROOT)
            if not inside or (anchor and anchor not in _anchors(target)):
                dead.append(f"{page.name}: {link}")
    assert not dead, dead
    assert followed > 20


def test_every_page_is_linked_to() -> None:
    linked = {link.partition("#")[0].rpartition("/")[2] for link in _LINK.findall(ALL)}
    lonely = [page.name for page in PAGES if page.name not in linked | {"README.md"}]
    assert not lonely, f"add to docs/README.md: {lonely}"


def test_every_setting_is_documented() -> None:
    missing = [name for name in VARIABLES if f"`{name}`" not in ALL]
    assert not missing, missing


def _subcommands(parser: argparse.ArgumentParser) -> list[str]:
    """What a command line lets one choose as its first word."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices)
        if not action.option_strings and action.choices:
            return [str(choice) for choice in action.choices]
    return []


def _said(program: str, words: list[str]) -> list[str]:
    """Those of the words that no line of the documentation names together with the program."""
    lines = [line for line in ALL.splitlines() if program in line]
    return [w for w in words if not any(re.search(rf"\b{w}\b", line) for line in lines)]


def test_every_command_is_documented() -> None:
    own = {n: app for n, app in get_commands().items() if app in ("retrieval", "workers")}
    assert len(own) > 8
    missing = [name for name in own if f"manage.py {name}" not in ALL]
    for name, app in own.items():
        parser = load_command_class(str(app), name).create_parser("manage.py", name)
        words = _said(f"manage.py {name}", _subcommands(parser))
        missing += [f"{name} {word}" for word in words]
    words = _said("python -m segmentation", _subcommands(build_parser()))
    missing += [f"segmentation {word}" for word in words]
    assert not missing, missing


def test_every_error_code_of_the_api_is_documented() -> None:
    text = TEXT[ROOT / "docs" / "api.md"]
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.code for c in classes if issubclass(c, errors.RetrievalError)}
    assert len(codes) > 20
    assert not [code for code in codes if f"`{code}`" not in text]


def test_the_check_of_signatures_that_people_copy_works() -> None:
    block = re.search(r"```python\n(.*?)```", TEXT[ROOT / "docs" / "api.md"], re.DOTALL)
    assert block is not None
    names: dict[str, object] = {}
    exec(block[1], names)
    check, body, now = names["is_ours"], b'{"event": "analysis.done"}', int(time.time())
    assert callable(check)
    assert check("whsec_a", signature("whsec_a", body, now), body)
    assert not check("whsec_b", signature("whsec_a", body, now), body)
    assert not check("whsec_a", signature("whsec_a", body, now), body + b" ")
    assert not check("whsec_a", signature("whsec_a", body, now - 3600), body)
