"""State survives the round trip through standard JSON."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookcore import state

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["nan", "inf", "float"])
keys = st.just("float") | st.text(max_size=5)
states = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3) | inner.map(lambda value: {"float": value})
    ),
    max_leaves=15,
)


def same(a: Any, b: Any) -> bool:
    """Return whether both are equal, with the same types; NaN equals NaN, and -0.0 does not equal 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not standard JSON")


@given(states)
@example({"float": "nan"})
@example({"float": {"float": math.nan}})
@example({"float": [math.inf]})
def test_state_round_trips_through_standard_json(value: Any) -> None:
    """Any state comes back, including NaN, infinities and dicts that look like their encoding; a strict parser reads it."""
    text = state.dumps(value)
    json.loads(text, parse_constant=refuse)
    assert same(state.loads(text), value)


def test_float_subclasses_are_floats() -> None:
    """A subclass of float with another repr, like NumPy's, is written as its number."""

    class Odd(float):
        def __repr__(self) -> str:
            return f"Odd({float(self)})"

    loaded = state.loads(state.dumps([Odd("nan"), Odd("inf"), Odd(0.5)]))
    assert same(loaded, [math.nan, math.inf, 0.5])


def test_numbers_of_numpy_are_pythons() -> None:
    """A number or bool of NumPy, also in an array without dimensions, is written and comes back as Python's."""
    given = [np.float32(0.5), np.int64(2), np.array(3), np.True_, np.float64("nan"), np.float32("-inf")]
    assert same(state.loads(state.dumps(given)), [0.5, 2, 3, True, math.nan, -math.inf])


def test_tuples_and_other_dicts_become_lists_and_dicts() -> None:
    """Tuples and subclasses of dict come back as lists and dicts."""
    assert state.loads(state.dumps(OrderedDict(a=(1, (2, math.inf))))) == {"a": [1, [2, math.inf]]}


@pytest.mark.parametrize("indent", [None, 1])
def test_indent_is_for_the_eye_alone(indent: int | None) -> None:
    """An indented text is read as the same state."""
    text = state.dumps({"a": [1]}, indent=indent)
    assert ("\n" in text) == (indent is not None)
    assert state.loads(text) == {"a": [1]}


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"x", [1j], np.complex64(1), np.array([1]), {"a": {"b": object()}}, {1: 2}, {"a": {None: 1}}]
)
def test_what_is_no_state_is_refused(value: Any) -> None:
    """Anything but numbers, strings, booleans, None, lists and dicts with string keys is an error, at any depth."""
    with pytest.raises(TypeError, match="State must"):
        state.dumps(value)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "b": 2, "a": 3}}]', '{"float": "nan", "float": "inf"}'])
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    """A key that an object has twice is an error, because readers differ in which of the two values they take."""
    with pytest.raises(ValueError, match="a key twice"):
        state.loads(text)
