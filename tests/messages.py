"""The messages of errors, read from the source: texts with {} where a value stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from retrieval.errors import RetrievalError
from segmentation.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
# What a person at a page can meet; commands and set-up speak to operators, in English.
FOLDERS = ("retrieval", "workers", "segmentation")
OPERATORS = ("management", "embedded", "migrations")
FOR_OPERATORS = {"EnvironmentInvalid", "EmbeddedError"}


def _names(tree: type) -> Iterator[str]:
    yield tree.__name__
    for below in tree.__subclasses__():
        yield from _names(below)


def _template(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


def templates() -> set[str]:
    """Every literal message that an error of the two trees is made with."""
    kinds = {*_names(RetrievalError), *_names(InputError)} - FOR_OPERATORS
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = set()
    for path in files:
        if set(OPERATORS) & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else None
                name = node.func.id if isinstance(node.func, ast.Name) else name
                text = _template(node.args[0])
                if name in kinds and text is not None and text.strip("{}"):
                    found.add(text)
    return found
