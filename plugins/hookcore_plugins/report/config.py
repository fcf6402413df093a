"""Convert the configuration of a run, in the forms that people use, to JSON-able values without secrets."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import inspect
import os
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any, Final

import attrs

from hookcore import ParameterError
from hookcore.authoring import HIDDEN, describe, is_secret, printable, state, without_secrets

_FORMS: Final = "a mapping, an attrs or dataclass object, or an argparse namespace"
_DEEPEST: Final = 50


def as_config(given: object) -> dict[str, Any]:
    """Return a configuration as nested dicts of JSON-able values; an empty one for None.

    The configuration, and each value in it, may be a mapping, OmegaConf's too, an object of an attrs class or a dataclass, or an
    argparse namespace. A value is hidden if its name is that of a secret, or if the class marks it `repr=False`. Paths, dates
    and members of an enumeration become text, functions and classes their names.

    Raises `ParameterError`, which names the entry, for a value that is not JSON-able.
    """
    if given is None:
        return {}
    try:
        config = None if _entries(given) is None else _plain("config", given, 0)
    except ParameterError:
        raise
    except Exception as error:  # whatever another library's mapping raises, such as OmegaConf for a value that is missing
        raise ParameterError(f"Report: config cannot be read: {describe(error)}.") from error
    if not isinstance(config, dict):
        raise ParameterError(f"Report: config must be {_FORMS}, got {printable(repr(given), 100)}.")
    return config


def _entries(given: Any) -> dict[Any, Any] | None:
    """Return the values of `given` by name, secrets hidden; None if it has none of the forms that have names."""
    kind = type(given)
    if isinstance(given, type):
        return None
    if isinstance(given, Mapping) or all(callable(getattr(kind, name, None)) for name in ("keys", "__getitem__")):
        return {key: HIDDEN if is_secret(str(key)) else given[key] for key in given.keys()}  # noqa: SIM118 - what is asked for
    if attrs.has(kind):
        return {
            field.alias: HIDDEN if is_secret(field.alias, kind) else getattr(given, field.name) for field in attrs.fields(kind)
        }
    if dataclasses.is_dataclass(given):
        return {
            field.name: HIDDEN if is_secret(field.name) or not field.repr else getattr(given, field.name)
            for field in dataclasses.fields(given)
        }
    if isinstance(given, argparse.Namespace | types.SimpleNamespace):
        return {name: HIDDEN if is_secret(name) else value for name, value in vars(given).items()}
    return None


def _plain(place: str, value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ParameterError(f"Report: {place[:100]}... is nested more than {_DEEPEST} levels deep. Does it contain itself?")
    text = _text(value)
    if text is not None:
        return text
    entries = _entries(value)
    if entries is not None:
        named = {_name(place, key): _plain(f"{place}.{key}", item, depth + 1) for key, item in entries.items()}
        if len(named) != len(entries):
            raise ParameterError(f"Report: {place} has two keys of one name, such as 1 and '1'. Give each another name.")
        return named
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(f"{place}[{number}]", item, depth + 1) for number, item in enumerate(value)]
    if isinstance(value, AbstractSet):
        return [_plain(place, item, depth + 1) for item in sorted(value, key=repr)]
    try:
        return state.loads(state.dumps(value))  # Python's number, if it is another library's
    except (TypeError, ValueError):
        shown = printable(repr(value), 100)
        raise ParameterError(
            f"Report: {place} must be JSON-able, or {_FORMS}, got {shown}. Leave it out, or give what it was made from."
        ) from None


def _text(value: Any) -> str | None:
    """Return `value` as text, if it is one or has a form as text; None for anything else."""
    if isinstance(value, enum.Enum):
        return _text(value.value if isinstance(value.value, str) else value.name)
    if isinstance(value, str | os.PathLike):
        return without_secrets(os.fsdecode(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, type) or inspect.isroutine(value):
        return str(getattr(value, "__qualname__", value))
    return None


def _name(place: str, key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str | bool | int | float) or key is None:
        return str(key)
    raise ParameterError(f"Report: {place} must have texts or numbers as keys, got {printable(repr(key), 100)}.")
