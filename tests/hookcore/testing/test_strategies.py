"""The strategies make all that they say, and nothing else."""

from __future__ import annotations

import itertools
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from hookcore import HOOKS
from hookcore.testing import Event, check_events, event_sequences, illegal_event_sequences, metric_series
from hookcore.testing.strategies import near_float32

if TYPE_CHECKING:
    from collections.abc import Callable

    Series = list[float | None]

FIND = settings(max_examples=3000, phases=[Phase.generate], derandomize=True, database=None)


def is_float32(value: float) -> bool:
    return math.isnan(value) or struct.unpack("<f", struct.pack("<f", value))[0] == value


# Series of a metric.


@given(st.data(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_series_holds_what_was_asked_for(data: st.DataObject, options: tuple[bool, bool, bool]) -> None:
    """Each value is a float that float32 holds exactly; NaN, infinities and None are there only if asked for."""
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
    """`min_size` and `max_size` are its bounds."""
    assert 2 <= len(series) <= 3


def pairs(series: Series) -> list[tuple[float, float]]:
    """Neighbours that are both there."""
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
    """Each kind of value that decides between two rules comes up."""
    find(metric_series(**options), holds, settings=FIND)


@given(st.floats(-3e38, 3e38), st.integers(-3, 3))
def test_the_nearest_float32_and_those_beside_it(value: float, steps: int) -> None:
    """Each step is the next float32: nothing lies between, and the nearest is as near as float32 allows."""
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
    """At both ends a step stays where it is."""
    assert near_float32(1e300, 2) == near_float32(1e300) == -near_float32(-1e300, -2)
    assert math.isfinite(near_float32(1e300))


# Sequences of events.


@given(event_sequences() | event_sequences(["val_loss"]))
def test_sequences_are_legal(events: list[Event]) -> None:
    """Every sequence passes the check."""
    check_events(events)


@given(event_sequences(["f1", "val_f1"], missing=True))
def test_metrics_are_those_named(events: list[Event]) -> None:
    """An observation has no metric but those named, a batch none that begins with `val_`; with `missing`, some are not there."""
    for event in events:
        metrics = event.arguments[-1] if event.arguments and isinstance(event.arguments[-1], dict) else {}
        assert set(metrics) <= ({"f1", "val_f1"} if event.hook in {"on_epoch_end", "on_metrics"} else {"f1"})


@given(event_sequences(["f1", "val_f1"]))
def test_only_what_is_fresh_is_observed(events: list[Event]) -> None:
    """The first observation of an epoch has every metric; a later one has those of the batches and evaluations since."""
    fresh = {"f1", "val_f1"}
    for event in events:
        match event.hook:
            case "on_epoch_begin":
                fresh = {"f1", "val_f1"}
            case "on_batch_end":
                fresh |= {"f1"}
            case "on_evaluate_end":
                fresh |= {"val_f1"}
            case "on_metrics":
                assert set(event.arguments[0]) == fresh
                fresh = set()


@given(event_sequences(min_runs=1, nan=True))
def test_the_end_of_an_epoch_has_the_latest_of_its_observations(events: list[Event]) -> None:
    """In an epoch that is observed once, its metrics and those of the observation are the same."""
    own: dict[str, float] = {}
    for event, following in itertools.pairwise(events):
        if event.hook == "on_epoch_begin":
            own = {}
        if event.hook == "on_metrics":
            own |= event.arguments[0]
        if event.hook == "on_epoch_end":
            last = following.arguments[0] if following.hook == "on_metrics" else {}
            assert repr(sorted(event.arguments[1].items())) == repr(sorted((own | last).items()))


@settings(FIND, max_examples=300)  # an exception is seldom right there
@given(event_sequences(by_steps=False, max_epochs=2, max_batches=1))
def test_without_steps_an_epoch_is_observed_at_its_end(events: list[Event]) -> None:
    """Each `on_metrics` follows an `on_epoch_end`; no exception comes between, as no loop has its turn there."""
    assert all((one.hook == "on_epoch_end") == (two.hook == "on_metrics") for one, two in itertools.pairwise(events))


@given(event_sequences(min_runs=1, max_runs=2, max_epochs=2, max_batches=1, exceptions=False, resumes=False))
def test_sequences_keep_to_their_bounds(events: list[Event]) -> None:
    """So many runs, epochs and batches, and no exception or resume where none is wanted."""
    hooks = [event.hook for event in events]
    assert 1 <= hooks.count("on_train_begin") <= 2
    assert not {"on_exception", "resume"}.intersection(hooks)
    for event in events:
        if event.hook == "on_batch_end":
            assert event.arguments[0] <= 1  # the second of two at a time


def hooks(events: list[Event]) -> list[str]:
    return [event.hook for event in events]


def after(events: list[Event], hook: str, *before: str) -> bool:
    """Whether one of `before` comes right before some `hook`."""
    return any(two.hook == hook and one.hook in before for one, two in itertools.pairwise(events))


def resumes(events: list[Event]) -> list[tuple[int, int]]:
    """The epoch after which each resumed run goes on, and the last that ended before."""
    found, ended = [], -1
    for event in events:
        if event.hook == "on_epoch_end":
            ended = event.arguments[0]
        if event.hook == "resume":
            found.append((event.arguments[0], ended))
    return found


@pytest.mark.parametrize(
    "holds",
    [
        lambda events: set(HOOKS) <= {*hooks(events), "on_exception"},
        lambda events: any(isinstance(one.arguments[0], KeyboardInterrupt) for one in events if one.hook == "on_exception"),
        lambda events: after(events, "on_exception", "on_batch_begin"),
        lambda events: after(events, "on_exception", "on_train_begin"),
        lambda events: after(events, "on_exception", "on_evaluate_batch_begin"),
        lambda events: after(events, "on_train_end", "on_train_begin"),
        lambda events: after(events, "on_train_end", "on_batch_end"),
        lambda events: after(events, "on_epoch_end", "on_batch_begin"),
        lambda events: after(events, "on_evaluate_begin", "on_batch_begin"),
        lambda events: after(events, "on_batch_begin", "stop"),
        lambda events: len(events) > 0 and events[0].hook == "on_predict_begin",
        lambda events: hooks(events).count("resume") == 2,
        lambda events: Event("on_epoch_begin", (3,)) in events and "resume" not in hooks(events),
        lambda events: any(resumed < ended for resumed, ended in resumes(events)),
        lambda events: any(resumed == ended for resumed, ended in resumes(events)),
        lambda events: any(event.hook == "on_batch_end" and event.arguments[0] == 3 for event in events),
        lambda events: after(events, "on_metrics", "on_evaluate_end"),
        lambda events: after(events, "on_metrics", "on_predict_end"),
        lambda events: after(events, "on_metrics", "stop"),
        lambda events: after(events, "on_exception", "on_metrics"),
        lambda events: after(events, "on_epoch_begin", "on_epoch_end"),  # the end of an epoch that had an observation
        lambda events: (
            after(events, "on_epoch_end", "on_batch_end", "on_metrics") and after(events, "on_metrics", "on_epoch_end")
        ),
    ],
)
def test_sequences_get_everywhere(holds: Callable[[list[Event]], bool]) -> None:
    """Each kind of event, ending and order that is legal comes up."""
    find(event_sequences(), holds, settings=FIND)


@given(illegal_event_sequences())
def test_illegal_sequences_are_refused(events: list[Event]) -> None:
    """No illegal sequence passes the check."""
    with pytest.raises(AssertionError):
        check_events(events)


@pytest.mark.parametrize(
    "holds",
    [
        lambda events: hooks(events)[:1] == ["on_epoch_begin"],
        lambda events: hooks(events).count("on_train_begin") > hooks(events).count("on_train_end"),
        lambda events: hooks(events).count("on_train_begin") < hooks(events).count("on_train_end"),
        lambda events: after(events, "on_epoch_end", "on_epoch_end"),
        lambda events: after(events, "on_metrics", "on_metrics"),
        lambda events: after(events, "on_metrics", "on_batch_end", "on_epoch_begin"),
        lambda events: after(events, "on_train_end", "on_epoch_end") and not after(events, "on_metrics", "on_evaluate_end"),
        lambda events: after(events, "on_batch_end", "on_batch_end", "on_epoch_begin"),
        lambda events: any(
            one.hook == "on_epoch_begin" and two.hook == "on_epoch_end" and one.arguments[0] != two.arguments[0]
            for one, two in itertools.pairwise(events)
        ),
    ],
)
def test_illegal_sequences_get_everywhere(holds: Callable[[list[Event]], bool]) -> None:
    """Lost, doubled, moved and misnumbered events, and a run that breaks off, come up."""
    find(illegal_event_sequences(), holds, settings=FIND)
