"""Series of a metric on which Keras, which compares in float32, must decide like the drop-ins, which compare in float64."""

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
"""A few numbers whose sums are exact in float32, so that ties and gains of exactly `min_delta` are common."""

_ODD: Final = st.sampled_from([math.nan, math.inf, -math.inf, None])
_SMALLEST: Final = float(np.finfo(np.float32).tiny)


@attrs.frozen
class Monitored:
    """A metric with its parameters and its values in several fits; None if it is missing."""

    monitor: str
    mode: str
    min_delta: float
    baseline: float | None
    fits: list[list[float | None]]


@st.composite
def monitored(draw: DrawFn, *, fits: int = 3, epochs: int = 8, deltas: bool = True) -> Monitored:
    """Draw a metric with only finite values, or also with NaN, infinities and missing values."""
    # Keras knows no direction of other names without a compiled model.
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
    """Return whether all comparisons of two values have the same result in float32, as in Keras, and in float64.

    Others are a deliberate difference: test_comparisons_are_in_float64.
    """
    finite = [value for value in {*values, baseline} if value is not None and math.isfinite(value)]
    with np.errstate(over="ignore"):
        single = {value: (np.float32(value), np.float32(value + min_delta), np.float32(value - min_delta)) for value in finite}
    return all(
        (single[a][1] < single[b][0]) == (a < b - min_delta) and (single[a][2] > single[b][0]) == (a > b + min_delta)
        for a, b in itertools.product(finite, repeat=2)
    )


def _normal(value: float | None) -> float | None:
    # TensorFlow treats a subnormal number as 0, which is part of the same difference.
    return 0.0 if value is not None and 0 < abs(value) < _SMALLEST else value


def begins_with_nan(values: Sequence[float | None]) -> bool:
    """Return whether the first value is NaN, which becomes Keras's best: test_nan_never_becomes_best."""
    first = next((value for value in values if value is not None), None)
    return first is not None and math.isnan(first)
