"""TimeLimit in real runs, with a clock that the test moves."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import Engine, Outcome, ParameterError, Run, state
from hookcore_adapters.loop import Loop
from hookcore_plugins import TimeLimit
from tests.plugins.resuming import resuming


@attrs.define
class Clock:
    """Seconds that pass when the test lets them, from an arbitrary beginning."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def train(
    limit: TimeLimit, clock: Clock, *, epochs: int = 3, batches: int = 3, a_batch: float = 0.0, validation: float = 0.0
) -> Run:
    """Train a run in which a batch takes `a_batch` seconds and the validation after it `validation`."""
    with Loop([limit], epochs=epochs) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(batches)):
                clock.now += a_batch
            clock.now += validation
    return loop.run


def test_it_stops_after_the_batch_in_which_the_limit_was_reached() -> None:
    """The limit counts from the beginning of training, the exact limit counts as reached, and one vote is given."""
    clock = Clock()
    run = train(TimeLimit(seconds=10, clock=clock), clock, a_batch=2.5)
    assert [(reason.epoch, reason.step) for reason in run.stop_reasons] == [(1, 4)]
    assert run.outcome is Outcome.STOPPED


def test_it_stops_after_an_epoch_whose_validation_reached_the_limit() -> None:
    """The limit is checked at the end of an epoch too."""
    clock = Clock()
    run = train(TimeLimit(seconds=10, clock=clock), clock, a_batch=1, validation=7)
    assert [(reason.epoch, reason.step) for reason in run.stop_reasons] == [(0, 3)]


def test_a_run_within_the_limit_completes() -> None:
    """A run that takes less than the limit completes."""
    clock = Clock()
    run = train(TimeLimit(seconds=9.1, clock=clock), clock, a_batch=1)
    assert run.outcome is Outcome.COMPLETED


def test_time_before_training_does_not_count() -> None:
    """The clock is read when training begins, not when the plugin is made."""
    clock = Clock()
    limit = TimeLimit(seconds=10, clock=clock)
    clock.now += 3600
    assert train(limit, clock, a_batch=1).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("given_limit", "elapsed", "message"),
    [
        ({"seconds": 2.5}, 2.75, "the time limit of 2.5s has passed: 2.8s elapsed"),
        ({"minutes": 1}, 60, "the time limit of 1m00s has passed: 1m00s elapsed"),
        ({"minutes": 90}, 5412.3, "the time limit of 1h30m has passed: 1h30m elapsed"),
        ({"hours": 2, "minutes": 1, "seconds": 5}, 7265, "the time limit of 2h01m has passed: 2h01m elapsed"),
        ({"hours": 0.5}, 1800, "the time limit of 30m00s has passed: 30m00s elapsed"),
        ({"seconds": 0.25}, 0.26, "the time limit of 250 ms has passed: 260 ms elapsed"),
        ({"hours": 1}, 3600.4, "the time limit of 1h00m has passed: 1h00m elapsed"),
    ],
)
def test_the_vote_gives_the_limit_and_the_time_elapsed(given_limit: dict[str, float], elapsed: float, message: str) -> None:
    """Seconds, minutes and hours add up, and are written as every duration is."""
    clock = Clock()
    run = train(TimeLimit(**given_limit, clock=clock), clock, epochs=1, batches=1, a_batch=elapsed)
    assert [reason.message for reason in run.stop_reasons] == [message]
    assert not train(TimeLimit(**given_limit, clock=clock), clock, epochs=1, batches=1, a_batch=elapsed * 0.9).stop_reasons


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 30), st.data())
def test_time_spent_before_a_resume_counts_and_the_time_between_does_not(
    durations: list[int], seconds: int, data: st.DataObject
) -> None:
    """Wherever a run is cut, a new object with the state from JSON stops at the same epoch, by another machine's clock."""

    def stop(limit: TimeLimit, clock: Clock, start: int, end: int, carried: Any = None) -> int | None:
        loop = Loop([*resuming(limit, carried), limit], epochs=end, initial_epoch=start)
        with loop:
            for epoch in loop.epochs():
                clock.now += durations[epoch]
        return loop.run.stop_reasons[0].epoch if loop.run.stop_reasons else None

    end = len(durations)
    cut = data.draw(st.integers(0, end))
    clock = Clock()
    expected = stop(TimeLimit(seconds=seconds, clock=clock), clock, 0, end)
    first = TimeLimit(seconds=seconds, clock=clock)
    stopped = stop(first, clock, 0, cut)
    if stopped is None:
        carried = state.loads(state.dumps(first.state_dict()))
        clock = Clock(now=5.0)
        stopped = stop(TimeLimit(seconds=seconds, clock=clock), clock, cut, end, carried)
    assert stopped == expected


def test_one_object_serves_two_runs_from_fresh_state() -> None:
    """The second run of a plugin does not count the time of the first."""
    clock = Clock()
    limit = TimeLimit(seconds=10, clock=clock)
    assert train(limit, clock, a_batch=1).outcome is Outcome.COMPLETED
    assert train(limit, clock, a_batch=1).outcome is Outcome.COMPLETED


@pytest.mark.parametrize("parameter", ["seconds", "minutes", "hours"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "10"])
def test_a_limit_outside_its_range_is_refused(parameter: str, value: Any) -> None:
    """The error names the class, the parameter, what was expected and the value."""
    with pytest.raises(ParameterError) as caught:
        TimeLimit(**{parameter: value})
    assert str(caught.value) == f"TimeLimit: {parameter} must be a finite number above 0 or None, got {value!r}."


def test_no_limit_at_all_is_refused() -> None:
    """A time limit without a time is refused."""
    with pytest.raises(ParameterError, match="TimeLimit: give a limit in seconds, minutes or hours"):
        TimeLimit()


def test_a_clock_must_be_a_function() -> None:
    """The error is raised before training."""
    with pytest.raises(ParameterError, match=r"TimeLimit: clock must be a function, got 3\."):
        TimeLimit(seconds=1, clock=3)  # type: ignore[arg-type]  # on purpose


def test_it_can_be_asked_for_by_a_spec_string() -> None:
    """A spec string gives the limit in hours."""
    assert Engine(["time_limit:hours=1.5"], autoload=False)["time_limit"].hours == 1.5
