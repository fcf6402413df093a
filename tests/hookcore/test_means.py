"""Means over batches, and how a resumed run continues them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import state
from hookcore.means import Means

SINGLES = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99), max_size=6
)


class Tensor:
    """A 32-bit number that computes like a framework's tensor, and is not NumPy's."""

    dtype = "float32"

    def __init__(self, value: object) -> None:
        self.value = np.float32(value)  # type: ignore[arg-type]

    def detach(self) -> Tensor:
        return self

    def __float__(self) -> float:
        return float(self.value)

    def __add__(self, other: object) -> Tensor:
        return Tensor(self.value + np.float32(other.value if isinstance(other, Tensor) else other))  # type: ignore[arg-type]

    __radd__ = __add__

    def __truediv__(self, other: int) -> Tensor:
        return Tensor(self.value / np.float32(other))

    def float(self) -> Tensor:
        return self


def trained(means: Means, values: list[float], *, observed_at: int | None) -> None:
    for number, value in enumerate(values):
        if number == observed_at:
            means.take_fresh()
        means.begin_batch()
        means.log({"loss": Tensor(value)})
        means.end_batch()


@given(before=SINGLES.filter(bool), after=SINGLES, observed=st.booleans(), cut_again=st.booleans())
def test_the_mean_of_a_cut_epoch_is_that_of_an_uncut_one(
    before: list[float], after: list[float], *, observed: bool, cut_again: bool
) -> None:
    """The mean of a cut epoch equals that of an uncut one to the last bit, wherever and however often it was cut."""
    at = len(before) // 2 if observed else None
    whole, cut = Means(), Means()
    trained(whole, before, observed_at=at)
    trained(cut, before, observed_at=at)
    for _ in range(1 + cut_again):
        cut = Means.of(state.loads(state.dumps(cut.state_dict())))
    trained(whole, after, observed_at=None)
    trained(cut, after, observed_at=None)
    assert float(cut.metrics()["loss"]) == float(whole.metrics()["loss"])
    if before[at or 0 :] or after:
        assert float(cut.take_fresh()["loss"]) == float(whole.take_fresh()["loss"])


def test_sums_of_earlier_checkpoints_are_read() -> None:
    """A sum without a type, as earlier versions wrote it, is read as Python's number."""
    assert Means.of({"own": {}, "sums": {"loss": [0.3, 3]}}).metrics() == {"loss": pytest.approx(0.1)}
