"""Settings from a TOML file into dataclasses: what is unknown or of the wrong kind is refused by name."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from segmentation.errors import ConfigError

T = TypeVar("T")

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read_settings(kind: type[T], values: object, where: str = "") -> T:
    """A dataclass from a TOML table; its fields may be dataclasses, for tables within.

    Args:
        kind: the dataclass.
        values: the table, as `tomllib` reads it.
        where: dotted name of the table, for messages; empty at the top.

    Raises:
        ConfigError: a setting is unknown, missing or of the wrong kind, or the dataclass's own
            checks refuse its value. The message begins with the setting's dotted name.
    """
    assert is_dataclass(kind)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is a table of settings, not {values!r}")
    types_of = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise ConfigError(_unknown(_dotted(where, name), name, known))
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ConfigError(f"{_dotted(where, field.name)} is missing")
    read = {
        name: _value(types_of[name], value, _dotted(where, name)) for name, value in values.items()
    }
    try:
        return cast(T, kind(**read))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _unknown(dotted: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{dotted} is an unknown setting; {hint}"


def _value(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return read_settings(cast(type, kind), value, name)
    if origin in (Union, types.UnionType):
        (kind,) = (part for part in inner if part is not type(None))  # TOML has no null
        return _value(kind, value, name)
    if origin in (tuple, list):
        return _sequence(origin, inner, value, name)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # bool is a kind of int in Python, but not in a configuration
        raise ConfigError(f"{name} is {_KINDS[kind]}, not {value!r}")
    return value


def _sequence(origin: Any, inner: tuple[Any, ...], value: Any, name: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{name} is a list, not {value!r}")
    open_ended = origin is list or inner[-1] is Ellipsis
    if not open_ended and len(value) != len(inner):
        raise ConfigError(f"{name} is a list of {len(inner)}, not of {len(value)}")
    kinds = [inner[0]] * len(value) if open_ended else list(inner)
    return origin(
        _value(kind, item, f"{name}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )
