"""The laws of the monitor, for any series of observations."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import Monitor, ParameterError, state

if TYPE_CHECKING:
    from collections.abc import Sequence

modes = st.sampled_from(["min", "max"])
series = st.lists(st.floats(), max_size=30)
min_deltas = st.just(0.0) | st.floats(0, 1e6)
# Multiples of 1/8 of moderate size: sums, differences and scalings by a power of two of them are exact.
dyadics = st.integers(-1000, 1000).map(lambda n: n / 8)
dyadic_series = st.lists(dyadics | st.just(math.nan), max_size=30)
dyadic_deltas = st.integers(0, 100).map(lambda n: n / 8)


def after(monitor: Monitor, values: Sequence[float]) -> Monitor:
    """Return the monitor after all of `values`."""
    for epoch, value in enumerate(values):
        monitor = monitor.observe(value, epoch)
    return monitor


def verdicts(monitor: Monitor, values: Sequence[float]) -> list[bool]:
    """Return for each of `values` whether it improved."""
    improved = []
    for epoch, value in enumerate(values):
        improved.append(monitor.improves(value))
        monitor = monitor.observe(value, epoch)
    return improved


def opposite(mode: str) -> str:
    return "max" if mode == "min" else "min"


@pytest.mark.parametrize(
    ("mode", "min_delta", "best", "value", "better"),
    [
        ("min", 0.0, 1.0, 0.5, True),
        ("min", 0.0, 1.0, 1.0, False),
        ("min", 0.0, 1.0, 2.0, False),
        ("max", 0.0, 1.0, 2.0, True),
        ("max", 0.0, 1.0, 1.0, False),
        ("max", 0.0, 1.0, 0.5, False),
        ("min", 0.25, 1.0, 0.75, False),
        ("min", 0.25, 1.0, 0.7, True),
        ("max", 0.25, 1.0, 1.25, False),
        ("max", 0.25, 1.0, 1.3, True),
        ("min", 0.25, None, math.inf, True),
        ("min", 0.0, math.inf, 1.0, True),
        ("max", 0.0, None, math.nan, False),
    ],
)
def test_better_is_strict_and_by_more_than_min_delta(
    mode: Any,
    min_delta: float,
    best: float | None,
    value: float,
    better: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A value is better if it is beyond the best by more than `min_delta`, and the first number always is."""
    assert Monitor(mode, min_delta=min_delta, best=best).improves(value) == better


@given(modes, min_deltas, series)
def test_nan_never_improves_and_never_becomes_best(mode: Any, min_delta: float, values: list[float]) -> None:
    """A NaN counts as one observation without improvement, after any series."""
    before = after(Monitor(mode, min_delta=min_delta), values)
    assert not before.improves(math.nan)
    assert before.observe(math.nan, 99) == attrs.evolve(before, waited=before.waited + 1)


@given(modes, series)
def test_best_is_the_extremum_without_min_delta(mode: Any, values: list[float]) -> None:
    """With `min_delta` 0 the best is the smallest (largest) number so far, at the first epoch that had it."""
    numbers = [value for value in values if not math.isnan(value)]
    monitor = after(Monitor(mode), values)
    assert monitor.best == ((min if mode == "min" else max)(numbers) if numbers else None)
    assert monitor.best_epoch == (values.index(monitor.best) if monitor.best is not None else None)


@given(modes, min_deltas, series)
def test_best_is_within_min_delta_of_the_extremum(mode: Any, min_delta: float, values: list[float]) -> None:
    """With any `min_delta` the best is a value of the series, at its epoch, and no value is better by more than `min_delta`."""
    monitor = after(Monitor(mode, min_delta=min_delta), values)
    numbers = [value for value in values if not math.isnan(value)]
    if monitor.best is None or monitor.best_epoch is None:
        assert not numbers
        return
    assert values[monitor.best_epoch] == monitor.best
    assert not any(monitor.improves(number) for number in numbers)


@given(modes, min_deltas, series)
def test_each_best_beats_the_one_before_by_more_than_min_delta(mode: Any, min_delta: float, values: list[float]) -> None:
    """Each value that improved is beyond the previous such value by more than `min_delta`."""
    improved = [
        value for value, better in zip(values, verdicts(Monitor(mode, min_delta=min_delta), values), strict=True) if better
    ]
    for earlier, later in itertools.pairwise(improved):
        assert later < earlier - min_delta if mode == "min" else later > earlier + min_delta


@given(modes, min_deltas, series)
def test_waited_is_the_number_of_observations_since_the_best(mode: Any, min_delta: float, values: list[float]) -> None:
    """`waited` counts the observations after the best one, or all of them if there is no best."""
    monitor = after(Monitor(mode, min_delta=min_delta), values)
    since = -1 if monitor.best_epoch is None else monitor.best_epoch
    assert monitor.waited == len(values) - 1 - since


@given(modes, min_deltas, series)
def test_negated_series_in_the_other_mode_has_the_same_verdicts(mode: Any, min_delta: float, values: list[float]) -> None:
    """Negated values have the same verdicts in the other mode."""
    other: Any = opposite(mode)
    negated = [-value for value in values]
    assert verdicts(Monitor(other, min_delta=min_delta), negated) == verdicts(Monitor(mode, min_delta=min_delta), values)


@given(modes, dyadic_deltas, dyadic_series, st.integers(-20, 20))
def test_scaling_keeps_the_verdicts(mode: Any, min_delta: float, values: list[float], exponent: int) -> None:
    """Scaling the values and `min_delta` changes no verdict."""
    scale = 2.0**exponent
    scaled = verdicts(Monitor(mode, min_delta=min_delta * scale), [value * scale for value in values])
    assert scaled == verdicts(Monitor(mode, min_delta=min_delta), values)


@given(modes, dyadic_deltas, dyadic_series, dyadics)
def test_shifting_keeps_the_verdicts(mode: Any, min_delta: float, values: list[float], shift: float) -> None:
    """Adding an offset to every value changes no verdict."""
    shifted = verdicts(Monitor(mode, min_delta=min_delta), [value + shift for value in values])
    assert shifted == verdicts(Monitor(mode, min_delta=min_delta), values)


@given(modes, min_deltas, series, st.data())
def test_splitting_a_series_changes_nothing(mode: Any, min_delta: float, values: list[float], data: st.DataObject) -> None:
    """At any point the state can be saved as JSON and loaded into a new monitor, and the later verdicts are the same."""
    cut = data.draw(st.integers(0, len(values)))
    first = after(Monitor(mode, min_delta=min_delta), values[:cut])
    resumed = Monitor(mode, min_delta=min_delta).load_state_dict(state.loads(state.dumps(first.state_dict())))
    assert resumed == first
    assert verdicts(resumed, values[cut:]) == verdicts(Monitor(mode, min_delta=min_delta), values)[cut:]


def test_the_parameters_are_no_part_of_the_state() -> None:
    """A monitor that loads a state keeps its own parameters."""
    resumed = Monitor("max", min_delta=0.5).load_state_dict(Monitor("min", best=1.0, best_epoch=2, waited=3).state_dict())
    assert resumed == Monitor("max", min_delta=0.5, best=1.0, best_epoch=2, waited=3)


def test_rest_waits_from_now_on_and_keeps_the_best() -> None:
    """`rest` sets `waited` to 0 and keeps the best."""
    assert Monitor("min", best=1.0, best_epoch=2, waited=3).rest() == Monitor("min", best=1.0, best_epoch=2)


def test_a_monitor_is_a_frozen_value() -> None:
    """A monitor cannot be changed; `observe` returns another one."""
    monitor = Monitor("min")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        monitor.waited = 1  # type: ignore[misc]  # what it is about
    monitor.observe(1.0, 0)
    assert monitor == Monitor("min")


@pytest.mark.parametrize(
    "parameters",
    [
        {"mode": "mni"},
        {"mode": "auto"},
        {"mode": "min", "min_delta": -1},
        {"mode": "min", "min_delta": math.nan},
        {"mode": "min", "waited": -1},
    ],
)
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    """An unknown mode, a negative `min_delta` and a negative count are refused."""
    with pytest.raises(ParameterError, match="Monitor: "):
        Monitor(**parameters)


def test_what_is_observed_is_kept_as_pythons_number() -> None:
    """A value of NumPy is kept as Python's float, so that the state is JSON-able."""
    value: Any = np.float32(0.5)
    assert repr(Monitor("min").observe(value, 0).best) == "0.5"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best", "0.5"),
        ("best", [None]),
        ("best", math.nan),
        ("best_epoch", 0.5),
        ("best_step", -1),
        ("by_steps", 1),
        ("waited", None),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, value: object) -> None:
    """A state that does not fit is refused when it is loaded, and not at the next observation."""
    monitor = Monitor("min").observe(1.0, 0)
    with pytest.raises(ParameterError, match=f"{name} must be"):
        monitor.load_state_dict({**monitor.state_dict(), name: value})
