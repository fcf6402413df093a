"""State as JSON: numbers, strings, booleans, None, lists and dicts. NaN and the infinities survive the round trip.

Standard JSON has no NaN or infinities. Here they are written as `{"float": "nan"}`, so that files stay standard JSON and strings
stay strings; a dict that looks the same is escaped. A number of NumPy, or in an array or tensor without dimensions, is written
and read back as Python's.
"""

from __future__ import annotations

import json
import math
from typing import Any

from hookcore.numeric import number_of, unwrapped

_MARK = "float"
_NON_FINITE = ("nan", "inf", "-inf")
_AS_THEY_ARE = {int, str, bool, type(None)}


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as standard JSON. Raises `TypeError`, with the value, if a part of it has another type."""
    return json.dumps(_encode(value), indent=indent, allow_nan=False)


def loads(text: str) -> Any:
    """Return the value that `dumps` was given; tuples come back as lists.

    Raises `ValueError` if `text` is not JSON, or if an object has a key twice, because JSON readers differ in which value they
    take.
    """
    return _decode(json.loads(text, object_pairs_hook=_unique))


def flattened(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts by names joined with dots: `{"model.depth": 3}`. A list or an empty dict is a leaf."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= flattened(item, f"{prefix}{name}.") if isinstance(item, dict) and item else {f"{prefix}{name}": item}
    return flat


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _encode(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else {_MARK: repr(value)}
    if value is None or kind is int or isinstance(value, str | bool):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"State must have strings as keys, got {key!r}.")
        encoded = {key: _encode(item) for key, item in value.items()}
        return {_MARK: encoded} if value.keys() == {_MARK} else encoded
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))  # fast for a long history, which has a few long columns of one type each
        if kinds <= _AS_THEY_ARE or (kinds == {float} and all(map(math.isfinite, value))):
            return list(value)
        return [_encode(item) for item in value]
    plain = unwrapped(value)
    plain = plain if isinstance(plain, bool) else number_of(plain)
    if plain is None:
        raise TypeError(f"State must be numbers, strings, booleans, None, lists and dicts, got {value!r}.")
    return _encode(plain)


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_MARK}:
            inner = value[_MARK]
            if inner in _NON_FINITE:
                return float(inner)
            if not isinstance(inner, dict):
                raise ValueError(f"{_MARK!r} must be one of {', '.join(_NON_FINITE)}, or an escaped object, got {inner!r}")
            return {key: _decode(item) for key, item in inner.items()}
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value
