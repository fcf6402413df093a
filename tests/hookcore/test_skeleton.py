"""Nested state is taken apart into JSON and arrays, and put together again."""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import skeleton, state


def is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ARRAYS = st.lists(st.integers(0, 9), max_size=3).map(np.array)
KEYS = st.integers() | st.text(max_size=5) | st.tuples(st.integers(), st.text(max_size=3))
STATES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Return whether both are equal, with the same types and the same arrays."""
    if is_array(one) or is_array(other):
        return one is other
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


@given(STATES)
def test_what_was_split_is_joined_again(given_state: Any) -> None:
    """Any state survives JSON: the same types, keys in order, and the arrays themselves."""
    parts, arrays = skeleton.split(given_state, is_array)
    assert same(skeleton.join(state.loads(state.dumps(parts)), arrays), given_state)


def test_an_array_in_several_places_is_there_once() -> None:
    """An array in several places is listed once, and is shared again afterwards."""
    shared = np.zeros(3)
    parts, arrays = skeleton.split({"a": shared, "b": [shared, math.inf], 3: np.ones(3)}, is_array)
    assert len(arrays) == 2
    joined = skeleton.join(parts, arrays)
    assert joined["a"] is joined["b"][0]


def test_an_ordered_dict_becomes_a_dict() -> None:
    """An `OrderedDict`, as in PyTorch's state, becomes a dict."""
    parts, arrays = skeleton.split(collections.OrderedDict(b=1, a=2), is_array)
    assert list(skeleton.join(parts, arrays)) == ["b", "a"]


class Widget(dict[str, int]):
    """A subclass of dict with an attribute."""


def loop() -> list[Any]:
    made: list[Any] = [1]
    made.append({"in": made})
    return made


@pytest.mark.parametrize(
    ("unsuitable", "message"),
    [
        (
            {"groups": [1, {"widget": Widget()}]},
            r"^state\['groups'\]\[1\]\['widget'\] is of type Widget and cannot be saved\. Ex",
        ),
        ({1j: 1}, r"^a key of state is of type complex"),
        ({"a": {1, 2}}, r"^state\['a'\] is of type set"),
        (loop(), r"^state\[1\]\['in'\] contains itself"),
    ],
)
def test_what_cannot_be_saved_is_an_error_with_its_place(unsuitable: Any, message: str) -> None:
    """A value that cannot be saved is an error with its place: nothing is left out or converted."""
    with pytest.raises((TypeError, ValueError), match=message):
        skeleton.split(unsuitable, is_array)


@pytest.mark.parametrize(
    "damaged",
    [
        [1],
        {},
        {"list": 1},
        {"array": 1},
        {"array": -1},
        {"array": True},
        {"array": "0"},
        {"dict": [[1]]},
        {"dict": [[{"list": []}, {"array": 0}]]},
        {"dict": [[1, 2], [1, {"array": 0}]]},
        {"list": [], "tuple": []},
        {"object": "os.system"},
        {"list": [1]},
    ],
)
def test_a_damaged_skeleton_is_refused(damaged: Any) -> None:
    """A damaged skeleton is a `ValueError`, whatever a file holds, and so is an array to which nothing refers."""
    with pytest.raises(ValueError, match=r"skeleton|not a key"):
        skeleton.join(damaged, [np.zeros(1)])
