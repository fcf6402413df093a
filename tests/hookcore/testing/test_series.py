"""The strategy for series of a metric makes all that it promises, and nothing else."""

from __future__ import annotations

import itertools
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from hookcore.testing import metric_series
from hookcore.testing.series import near_float32

if TYPE_CHECKING:
    from collections.abc import Callable

    Series = list[float | None]

FIND = settings(max_examples=3000, phases=[Phase.generate], derandomize=True, database=None)


def is_float32(value: float) -> bool:
    return math.isnan(value) or struct.unpack("<f", struct.pack("<f", value))[0] == value


@given(st.data(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_series_holds_what_was_asked_for(data: st.DataObject, options: tuple[bool, bool, bool]) -> None:
    """Each value is a float that float32 holds exactly; NaN, infinities and None occur only if asked for."""
    nan, infinity, missing = options
    for value in data.draw(metric_series(min_size=2, max_size=6, min_delta=0.1, nan=nan, infinity=infinity, missing=missing)):
        if value is None:
            assert missing
        else:
            assert isinstance(value, float)
            assert is_float32(value)
            assert nan or not math.isnan(value)
            assert infinity or not math.isinf(value)


@given(metric_series(min_size=2, max_size=3))
def test_a_series_is_as_long_as_asked_for(series: Series) -> None:
    """The length of a series is between `min_size` and `max_size`."""
    assert 2 <= len(series) <= 3


def pairs(series: Series) -> list[tuple[float, float]]:
    """Return the pairs of neighbours that are both present."""
    return [(one, two) for one, two in itertools.pairwise(series) if one is not None and two is not None]


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({"nan": True}, lambda series: any(value is not None and math.isnan(value) for value in series)),
        ({"infinity": True}, lambda series: math.inf in series and -math.inf in series),
        ({"missing": True}, lambda series: None in series),
        ({}, lambda series: any(one == two for one, two in pairs(series))),
        ({}, lambda series: len(series) > 2 and series[0] == series[2] != series[1]),
        ({}, lambda series: any(two == near_float32(one, 1) for one, two in pairs(series))),
        ({"min_delta": 0.1}, lambda series: any(two == near_float32(one - 0.1) != one for one, two in pairs(series[:2]))),
        ({"min_delta": 0.1}, lambda series: any(two == near_float32(one + 0.1, 1) for one, two in pairs(series[:2]))),
        ({"min_delta": 0.1}, lambda series: any(two == near_float32(one - 0.1, -1) for one, two in pairs(series[:2]))),
        ({}, lambda series: any(value is not None and not value.is_integer() for value in series)),
    ],
    ids=["nan", "infinities", "missing", "plateau", "tie", "least gain", "delta", "above delta", "below delta", "fraction"],
)
def test_a_series_gets_to_the_hard_cases(options: dict[str, Any], holds: Callable[[Series], bool]) -> None:
    """Each kind of value on which two stopping rules may differ occurs."""
    find(metric_series(**options), holds, settings=FIND)


@given(st.floats(-3e38, 3e38), st.integers(-3, 3))
def test_the_nearest_float32_and_those_beside_it(value: float, steps: int) -> None:
    """Each step is the next float32, with none between, and the nearest is as near as float32 allows."""
    nearest = near_float32(value)
    assert nearest == struct.unpack("<f", struct.pack("<f", value))[0]
    stepped = near_float32(value, steps)
    assert is_float32(stepped)
    assert near_float32(stepped, -steps) == nearest
    if steps == 1:
        assert stepped > nearest
        middle = (nearest + stepped) / 2
        assert struct.unpack("<f", struct.pack("<f", middle))[0] in {nearest, stepped}


def test_the_largest_float32_has_nothing_above_it() -> None:
    """A step beyond the largest or the smallest finite float32 stays there."""
    assert near_float32(1e300, 2) == near_float32(1e300) == -near_float32(-1e300, -2)
    assert math.isfinite(near_float32(1e300))
