"""Series of a metric on which Keras, which compares in float32, must decide as we do, who compare in float64."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
from hypothesis import strategies as st

from hookcore.testing import metric_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

EIGHTHS: Final = st.integers(-24, 24).map(lambda k: k / 8)
"""Few numbers, exact in float32 however they are added: ties, and gains of exactly `min_delta`, are common."""

_ODD: Final = st.sampled_from([math.nan, math.inf, -math.inf, None])
_SMALLEST: Final = float(np.finfo(np.float32).tiny)


@attrs.frozen
class Monitored:
    """A metric, what it is compared by, and its values: those of several fits in a row, None where it is missing."""

    monitor: str
    mode: str
    min_delta: float
    baseline: float | None
    fits: list[list[float | None]]


@st.composite
def monitored(draw: DrawFn, *, fits: int = 3, epochs: int = 8, deltas: bool = True) -> Monitored:
    """A metric with finite values only, or with NaN, infinities and missing ones among them."""
    # Keras knows the direction of no other name if nothing is compiled.
    modes = [("val_loss", "auto"), ("loss", "auto"), ("val_loss", "max"), ("accuracy", "max"), ("score", "min")]
    monitor, mode = draw(st.sampled_from(modes))
    min_delta = draw(st.sampled_from([0.0, 0.0, 0.125, 0.5, 2.0])) if deltas else 0.0
    baseline = draw(st.none() | EIGHTHS)
    odd = draw(st.booleans())
    if draw(st.booleans()):
        value: SearchStrategy[float | None] = EIGHTHS | _ODD if odd else EIGHTHS
        series = st.lists(value, min_size=1, max_size=epochs)
    else:
        series = metric_series(max_size=epochs, min_delta=min_delta, nan=odd, infinity=odd, missing=odd)
    drawn = draw(st.lists(series, min_size=1, max_size=fits))
    if not _float32_decides_alike(itertools.chain(*drawn), baseline, min_delta):
        min_delta = 0.0  # then it does
    return Monitored(monitor, mode, min_delta, baseline, [[_normal(value) for value in values] for values in drawn])


def _float32_decides_alike(values: Iterable[float | None], baseline: float | None, min_delta: float) -> bool:
    """Whether a comparison of any two of the values comes out as Keras computes it, in float32, as it does in float64.

    The exception is a deliberate difference: test_comparisons_are_in_float64.
    """
    finite = [value for value in {*values, baseline} if value is not None and math.isfinite(value)]
    with np.errstate(over="ignore"):
        single = {value: (np.float32(value), np.float32(value + min_delta), np.float32(value - min_delta)) for value in finite}
    return all(
        (single[a][1] < single[b][0]) == (a < b - min_delta) and (single[a][2] > single[b][0]) == (a > b + min_delta)
        for a, b in itertools.product(finite, repeat=2)
    )


def _normal(value: float | None) -> float | None:
    # TensorFlow takes a subnormal number for 0, which is a part of the same difference.
    return 0.0 if value is not None and 0 < abs(value) < _SMALLEST else value


def begins_with_nan(values: Sequence[float | None]) -> bool:
    """Whether the first value that there is is NaN, which becomes Keras's best: test_nan_never_becomes_best."""
    first = next((value for value in values if value is not None), None)
    return first is not None and math.isnan(first)
