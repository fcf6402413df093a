"""Hypothesis strategy for series of a metric's values."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    Series = list[float | None]

_LARGEST: Final = 0x7F7FFFFF
"""The largest finite float32, as an integer."""


def metric_series(
    *,
    min_size: int = 1,
    max_size: int = 12,
    min_delta: float = 0.0,
    nan: bool = False,
    infinity: bool = False,
    missing: bool = False,
) -> SearchStrategy[list[float | None]]:
    """Make lists of one metric's values, one per observation, that are hard for a stopping rule.

    Every value is exact in float32, so that a framework that computes in float32 gets the same numbers. Beside new values there
    are plateaus, ties with earlier values, and values within two float32 steps of the best or the latest plus or minus
    `min_delta`. `nan` and `infinity` add these, and `missing` adds None for an observation without the metric.
    """
    moves = ["same", "same", "new", "tie", "near"]
    moves += ["nan"] * nan + ["infinity"] * infinity + ["missing"] * missing
    return _series(min_size, max_size, min_delta, moves)


@st.composite
def _series(draw: DrawFn, min_size: int, max_size: int, min_delta: float, moves: Sequence[str]) -> Series:
    series: Series = []
    seen: list[float] = []
    for move in draw(st.lists(st.sampled_from(moves), min_size=min_size, max_size=max_size)):
        value = _value(draw, move, seen, min_delta)
        series.append(value)
        if value is not None and math.isfinite(value):
            seen.append(value)
    return series


def _value(draw: DrawFn, move: str, seen: Sequence[float], min_delta: float) -> float | None:
    match move:
        case "missing" | "nan":
            return None if move == "missing" else math.nan
        case "infinity":
            return draw(st.sampled_from([math.inf, -math.inf]))
        case "same" | "tie" if seen:
            return seen[-1] if move == "same" else draw(st.sampled_from(seen))
        case "near" if seen:
            base = draw(st.sampled_from([min(seen), max(seen), seen[-1]]))
            return near_float32(base + draw(st.sampled_from([-1, 1])) * min_delta, draw(st.integers(-2, 2)))
        case _:
            return draw(st.integers(-8, 8).map(float) | st.floats(-3e38, 3e38).map(near_float32))


def near_float32(value: float, steps: int = 0) -> float:
    """Return the float32 nearest to `value`, or the one `steps` above it, but not beyond the largest finite one."""
    largest: float = struct.unpack("<f", struct.pack("<I", _LARGEST))[0]
    (bits,) = struct.unpack("<I", struct.pack("<f", max(-largest, min(largest, value))))
    # The bits of a float32 count up with its magnitude.
    place = (-(bits & 0x7FFFFFFF) if bits >> 31 else bits) + steps
    place = max(-_LARGEST, min(_LARGEST, place))
    (result,) = struct.unpack("<f", struct.pack("<I", place if place >= 0 else -place | 0x80000000))
    return float(result)
