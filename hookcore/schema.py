"""Checks of data from JSON: functions that return the value, or raise an error that names the field.

The record of a run and the state of plugins come from a file, which may be damaged or of another version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from hookcore.errors import ParameterError
from hookcore.raised import shortened

FieldPath: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a field."""

Check: TypeAlias = Callable[..., Any]
"""`check(value, path)` returns a field's value, or raises `ParameterError` with the field's name. `path` defaults to ()."""

_LARGEST: Final = 2**63
_MOST_SECONDS: Final = 10**11
"""More than any run takes."""


def _fail(path: FieldPath, expected: str, value: object) -> NoReturn:
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".") or "it"
    raise ParameterError(f"{name} must be {expected}, got {shortened(repr(value), 100)}")


def integer(value: Any, path: FieldPath = ()) -> int:
    """Accept a whole number of at least 0."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        _fail(path, "a whole number of at least 0", value)
    return value


def number(value: Any, path: FieldPath = ()) -> float:
    """Accept a number, including NaN and the infinities, and return it as a float."""
    if type(value) is float:
        return value
    if type(value) is not int or abs(value) >= _LARGEST:
        _fail(path, "a number", value)
    return float(value)


def seconds(value: Any, path: FieldPath = ()) -> float:
    """Accept a number of seconds: finite, at least 0 and less than 3,000 years."""
    if type(value) not in {int, float} or not 0 <= value < _MOST_SECONDS:
        _fail(path, "a number of seconds of at least 0", value)
    return float(value)


def text(value: Any, path: FieldPath = ()) -> str:
    """Accept a string."""
    if not isinstance(value, str):
        _fail(path, "a string", value)
    return value


def truth(value: Any, path: FieldPath = ()) -> bool:
    """Accept true and false."""
    if not isinstance(value, bool):
        _fail(path, "true or false", value)
    return value


def anything(value: Any, path: FieldPath = ()) -> Any:
    """Accept any value."""
    del path
    return value


def optional(check: Check) -> Check:
    """Return a check that accepts None too."""
    return lambda value, path=(): None if value is None else check(value, path)


def list_of(check: Check) -> Check:
    """Return a check of a list whose items `check` accepts."""

    def checked(value: Any, path: FieldPath = ()) -> list[Any]:
        if not isinstance(value, list):
            _fail(path, "a list", value)
        return [check(item, (*path, position)) for position, item in enumerate(value)]

    return checked


def pair_of(first: Check, second: Check) -> Check:
    """Return a check of a list of two, whose items `first` and `second` accept."""

    def checked(value: Any, path: FieldPath = ()) -> list[Any]:
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
            _fail(path, "a list of two", value)
        return [first(value[0], (*path, 0)), second(value[1], (*path, 1))]

    return checked


def mapping_of(check: Check) -> Check:
    """Return a check of an object whose values `check` accepts, whatever their names."""

    def checked(value: Any, path: FieldPath = ()) -> dict[str, Any]:
        if not isinstance(value, dict):
            _fail(path, "an object", value)
        return {key: check(item, (*path, key)) for key, item in value.items()}

    return checked


def fields(required: Mapping[str, Check], absent: Mapping[str, tuple[Check, Any]] | None = None) -> Check:
    """Return a check of an object with the `required` fields; those in `absent` may be missing, and have a check and a default.

    Other fields are left out, because a later version may write more.
    """
    others = absent or {}

    def checked(value: Any, path: FieldPath = ()) -> dict[str, Any]:
        if not isinstance(value, dict):
            _fail(path, "an object", value)
        for name in required:
            if name not in value:
                _fail((*path, name), "present", None)
        found = {name: check(value[name], (*path, name)) for name, check in required.items()}
        for name, (check, default) in others.items():
            found[name] = check(value[name], (*path, name)) if name in value else default
        return found

    return checked
