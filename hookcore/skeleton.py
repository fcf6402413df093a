"""Nested state without pickle: a skeleton, which `hookcore.state` writes as JSON, and the arrays that it refers to.

An optimizer's state is dicts within lists within dicts, with arrays in between and numbers as keys. `split` takes it apart, a
framework's own format stores the arrays, and `join` puts it together. In a skeleton, numbers, strings, booleans and None are
plain values, and everything else is a dict whose only key tells its kind:

    {"list": [...]}     {"tuple": [...]}     {"dict": [[key, value], ...]}     {"array": number}
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLAIN: Final = (type(None), bool, int, float, str)
_SEQUENCES: Final[dict[type, str]] = {list: "list", tuple: "tuple"}


def split(state: Any, is_array: Callable[[Any], bool]) -> tuple[Any, list[Any]]:
    """Return the skeleton of `state`, and its arrays in order; an array that occurs several times is listed once.

    `is_array` tells which values are arrays. Other values may be dicts (an `OrderedDict` becomes a dict), lists, tuples, numbers,
    strings, booleans and None; keys may be any of these except lists and dicts. Raises `TypeError` for anything else, with its
    place, and `ValueError` for a list or dict that contains itself.
    """
    arrays: list[Any] = []
    numbers: dict[int, int] = {}
    around: list[int] = []

    def taken_apart(value: Any, place: str) -> Any:
        if is_array(value):
            if id(value) not in numbers:
                numbers[id(value)] = len(arrays)
                arrays.append(value)
            return {"array": numbers[id(value)]}
        if isinstance(value, _PLAIN):
            return value
        if id(value) in around:
            raise ValueError(f"{place} contains itself, and cannot be saved.")
        around.append(id(value))
        try:
            if type(value) in _SEQUENCES:
                items = [taken_apart(item, f"{place}[{number}]") for number, item in enumerate(value)]
                return {_SEQUENCES[type(value)]: items}
            if type(value) in {dict, collections.OrderedDict}:
                pairs = value.items()
                return {"dict": [[taken_apart(k, f"a key of {place}"), taken_apart(v, f"{place}[{k!r}]")] for k, v in pairs]}
        finally:
            around.pop()
        raise TypeError(
            f"{place} is of type {type(value).__name__} and cannot be saved. Expected dicts, lists, tuples, numbers, strings, "
            "booleans, None and arrays."
        )

    return taken_apart(state, "state"), arrays


def join(skeleton: Any, arrays: Sequence[Any]) -> Any:
    """Return the state that `split` was given, with `arrays` in place of its arrays.

    Raises `ValueError` if `skeleton` is not a skeleton, or does not refer to exactly these arrays: a file may be damaged or
    hostile.
    """
    used: set[int] = set()

    def put_together(part: Any) -> Any:
        if isinstance(part, _PLAIN):
            return part
        if not isinstance(part, dict) or len(part) != 1:
            raise ValueError(f"not a part of a skeleton: {part!r}")
        ((kind, inside),) = part.items()
        if kind == "array" and type(inside) is int and 0 <= inside < len(arrays):
            used.add(inside)
            return arrays[inside]
        if kind in _SEQUENCES.values() and isinstance(inside, list):
            items = [put_together(item) for item in inside]
            return tuple(items) if kind == "tuple" else items
        if kind == "dict" and isinstance(inside, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in inside):  # noqa: PLR2004 - a key and a value
            pairs = [(put_together(key), put_together(value)) for key, value in inside]
            try:
                found = dict(pairs)
            except TypeError as error:  # a list as a key
                raise ValueError(f"not a key: {error}") from error
            if len(found) == len(pairs):
                return found
        raise ValueError(f"not a part of a skeleton with {len(arrays)} arrays: {part!r}")

    state = put_together(skeleton)
    if len(used) != len(arrays):
        raise ValueError(f"a skeleton of {len(used)} arrays, and there are {len(arrays)}")
    return state
