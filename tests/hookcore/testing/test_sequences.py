"""The strategies for sequences of events make all that they promise, and nothing else."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, find, given, settings

from hookcore import HOOKS
from hookcore.testing import Event, check_events, event_sequences, illegal_event_sequences

if TYPE_CHECKING:
    from collections.abc import Callable

FIND = settings(max_examples=3000, phases=[Phase.generate], derandomize=True, database=None)


@given(event_sequences() | event_sequences(["val_loss"]))
def test_sequences_are_legal(events: list[Event]) -> None:
    """Every sequence passes `check_events`."""
    check_events(events)


@given(event_sequences(["f1", "val_f1"], missing=True))
def test_metrics_are_those_named(events: list[Event]) -> None:
    """An observation has only the metrics named, and a batch only those of them that do not begin with `val_`."""
    for event in events:
        metrics = event.arguments[-1] if event.arguments and isinstance(event.arguments[-1], dict) else {}
        assert set(metrics) <= ({"f1", "val_f1"} if event.hook in {"on_epoch_end", "on_metrics"} else {"f1"})


@given(event_sequences(["f1", "val_f1"]))
def test_only_what_is_fresh_is_observed(events: list[Event]) -> None:
    """The first observation of an epoch has every metric; a later one has only those of the batches and evaluations since."""
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
    """`on_epoch_end` has the latest value of each metric in the epoch's observations, the one at its end included."""
    own: dict[str, float] = {}
    for event, following in itertools.pairwise(events):
        if event.hook == "on_epoch_begin":
            own = {}
        if event.hook == "on_metrics":
            own |= event.arguments[0]
        if event.hook == "on_epoch_end":
            last = following.arguments[0] if following.hook == "on_metrics" else {}
            assert repr(sorted(event.arguments[1].items())) == repr(sorted((own | last).items()))


@settings(FIND, max_examples=300)  # an exception seldom comes right there
@given(event_sequences(by_steps=False, max_epochs=2, max_batches=1))
def test_without_steps_an_epoch_is_observed_at_its_end(events: list[Event]) -> None:
    """Each `on_metrics` follows an `on_epoch_end`; no exception comes between, because no code of a loop runs there."""
    assert all((one.hook == "on_epoch_end") == (two.hook == "on_metrics") for one, two in itertools.pairwise(events))


@given(event_sequences(min_runs=1, max_runs=2, max_epochs=2, max_batches=1, exceptions=False, resumes=False))
def test_sequences_keep_to_their_bounds(events: list[Event]) -> None:
    """Runs, epochs and batches keep to their bounds, and there is no exception or resume unless it is allowed."""
    hooks = [event.hook for event in events]
    assert 1 <= hooks.count("on_train_begin") <= 2
    assert not {"on_exception", "resume"}.intersection(hooks)
    for event in events:
        if event.hook == "on_batch_end":
            assert event.arguments[0] <= 1  # the second of two at a time


def hooks(events: list[Event]) -> list[str]:
    return [event.hook for event in events]


def after(events: list[Event], hook: str, *before: str) -> bool:
    """Return whether one of `before` comes right before some `hook`."""
    return any(two.hook == hook and one.hook in before for one, two in itertools.pairwise(events))


def resumes(events: list[Event]) -> list[tuple[int, int]]:
    """Return, for each resumed run, the epoch that it resumes from, and the last one that ended before."""
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
    """Each legal kind of event, ending and order occurs."""
    find(event_sequences(), holds, settings=FIND)


@given(illegal_event_sequences())
def test_illegal_sequences_are_refused(events: list[Event]) -> None:
    """No illegal sequence passes `check_events`."""
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
    """Lost, doubled, moved and misnumbered events occur, and so does a run that breaks off."""
    find(illegal_event_sequences(), holds, settings=FIND)
