"""Hypothesis strategies for legal and illegal sequences of events."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import strategies as st

from hookcore import SavedCheckpoint
from hookcore.testing.events import Event, is_legal
from hookcore.testing.series import metric_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

EXCEPTIONS: Final = (KeyboardInterrupt, ValueError, MemoryError, RuntimeError, StopIteration)


def event_sequences(
    metrics: Sequence[str] = ("loss", "val_loss"),
    *,
    min_runs: int = 0,
    max_runs: int = 3,
    max_epochs: int = 4,
    max_batches: int = 3,
    exceptions: bool = True,
    resumes: bool = True,
    by_steps: bool = True,
    **series: Any,
) -> SearchStrategy[list[Event]]:
    """Make legal sequences of events, for `hookcore.testing.play`: the events of loops, in every order that is allowed.

    A sequence has runs with any number of epochs, batches one or two at a time, evaluations and predictions inside and outside
    epochs and runs, checkpoints, votes to stop by another plugin, a last batch without an end, and an epoch that the loop leaves
    in the middle.

    * `metrics`: the names of the metrics in each observation; `metric_series(**series)` makes the values. Batches have those that
      do not begin with `val_`. `on_epoch_end` has the latest values of its epoch.
    * `min_runs`, `max_runs`, `max_epochs`, `max_batches`: bounds for the number of runs, of epochs in a run, and of batches in an
      epoch, which may be twice as many if the loop does two at a time.
    * `exceptions`: whether a run may end with an exception at any point, Ctrl-C included.
    * `resumes`: whether a run may be resumed from the end of an epoch of the run before it.
    * `by_steps`: whether a run may have observations by steps: one for the evaluations that follow a batch, and perhaps another
      one at the end of the epoch. Without a new evaluation, the latter has only the metrics of batches.
    """
    return _sequences(
        runs=(min_runs, max_runs),
        max_epochs=max_epochs,
        endings=["end", "end", "left", "exception"] if exceptions else ["end", "end", "left"],
        resumes=resumes,
        by_steps=by_steps,
        epochs=Epochs(tuple(metrics), max_batches=max_batches, series=series),
    )


def illegal_event_sequences(metrics: Sequence[str] = ("loss", "val_loss"), **options: Any) -> SearchStrategy[list[Event]]:
    """Make illegal sequences of events: legal ones in which an event is lost, doubled, moved or misnumbered, or that break off.

    Use them to test that an adapter reports such a sequence. `hookcore.testing.check_events` refuses each of them. The `options`
    are those of `event_sequences`.
    """
    return _disturbed(event_sequences(metrics, **{"min_runs": 1, **options})).filter(lambda events: not is_legal(events))


@st.composite
def _disturbed(draw: DrawFn, legal: SearchStrategy[list[Event]]) -> list[Event]:
    events = list(draw(legal))
    place = draw(st.integers(0, len(events) - 1))
    event = events[place]
    match draw(st.sampled_from(["lose", "double", "move", "number", "break off"])):
        case "lose":
            del events[place]
        case "double":
            events.insert(place, event)
        case "move":
            events.insert(draw(st.integers(0, len(events) - 1)), events.pop(place))
        case "number":
            arguments = [
                argument + draw(st.sampled_from([-1, 1, 2])) if isinstance(argument, int) else argument
                for argument in event.arguments
            ]
            events[place] = attrs.evolve(event, arguments=tuple(arguments))
        case "break off":
            del events[place:]
    return events


@attrs.frozen
class Epochs:
    """The form of a run's epochs."""

    metrics: tuple[str, ...]
    max_batches: int = 3
    at_once: int = 1
    """The number of batches that the loop does at a time."""
    batches: int | None = None
    """How often it does that in each epoch. None if the loop does not know in advance: then it may ask for one batch too many."""
    by_steps: bool = False
    """Whether evaluations that follow a batch are observations."""
    series: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def trained(self) -> list[str]:
        """The metrics of batches and evaluations."""
        return [name for name in self.metrics if not name.startswith("val_")]

    def events(self, first: int, count: int, endings: Sequence[str], before: Sequence[Event] = ()) -> SearchStrategy[list[Event]]:
        """Make `before`, and then the events of `count` epochs from `first` on; a vote to stop ends them early.

        One of `endings` follows: `"end"`, `"left"` for a loop that is left in its last epoch, `"exception"` at any point, and
        `"open"` for a run that does not end yet.
        """
        return _epochs(self, first, count, endings=endings, before=before)


@st.composite
def _epochs(
    draw: DrawFn, kind: Epochs, first: int, count: int, *, endings: Sequence[str], before: Sequence[Event]
) -> list[Event]:
    # Batches repeat a few values, so that Hypothesis has fewer choices to make and to shrink.
    values = {name: itertools.cycle(draw(metric_series(**{**kind.series, "max_size": 5}))) for name in kind.trained}

    def batch_metrics() -> dict[str, float]:
        return _present({name: next(column) for name, column in values.items()})

    epochs: list[list[Event]] = []
    for epoch in range(first, first + count):
        epochs.append(_epoch(draw, kind, epoch, batch_metrics))
        if any(event.hook == "stop" for event in epochs[-1]):
            break
    size = sum(event.hook == "on_metrics" for own in epochs for event in own)
    series = {name: draw(metric_series(**{**kind.series, "min_size": size, "max_size": size})) for name in kind.metrics}
    columns = {name: iter(column) for name, column in series.items()}
    events = [*before, *(event for own in epochs for event in _with_metrics(own, columns, kind.trained))]
    match draw(st.sampled_from(endings)):
        case "open":
            return events
        case "left" if epochs:
            del events[max(place for place, event in enumerate(events) if event.hook == "on_epoch_end") :]
        case "exception":
            place = draw(st.integers(min(1, len(events)), len(events)))
            if [event.hook for event in events[place - 1 : place + 1]] == ["on_epoch_end", "on_metrics"]:
                place += 1  # no code of a loop runs between these two
            del events[place:]
            events.append(Event("on_exception", (draw(st.sampled_from(EXCEPTIONS))("in the loop"),)))
    return [*events, Event("on_train_end")]


def _epoch(draw: DrawFn, kind: Epochs, epoch: int, metrics: Callable[[], dict[str, float]]) -> list[Event]:
    """Draw the events of an epoch, whose observations and end have no metrics yet."""
    events = [Event("on_epoch_begin", (epoch,))]
    count = draw(st.integers(0, kind.max_batches)) if kind.batches is None else kind.batches
    for number in range(0, count * kind.at_once, kind.at_once):
        within, after = draw(st.tuples(_MOSTLY_NOTHING, _OFTEN_OBSERVED if kind.by_steps else _MOSTLY_NOTHING))
        events += [
            Event("on_batch_begin", (number,)),
            *between(within, epoch, metrics),
            Event("on_batch_end", (number + kind.at_once - 1, metrics())),
            *between(after, epoch, metrics),
        ]
    if kind.batches is None and draw(_SELDOM):
        events.append(Event("on_batch_begin", (count * kind.at_once,)))
    if draw(st.booleans()):
        events += between("evaluate", epoch, metrics)
    is_observed = not any(event.hook == "on_metrics" for event in events) or draw(st.booleans())
    return [*events, Event("on_epoch_end", (epoch,)), *([Event("on_metrics")] if is_observed else [])]


def _with_metrics(events: Sequence[Event], columns: Mapping[str, Iterator[float | None]], trained: Sequence[str]) -> list[Event]:
    """Return the events of an epoch with the next values of `columns` in its observations, and the latest of them in its end."""
    own: dict[str, float] = {}
    filled: list[Event] = []
    trains, validates, is_first = True, True, True
    for event in events:
        if event.hook == "on_metrics":
            fresh = _present({name: next(column) for name, column in columns.items()})
            # A metric is fresh only if its kind, training or validation, has happened since the previous observation.
            fresh = {name: value for name, value in fresh.items() if (trains if name in trained else validates)}
            own |= fresh
            if fresh or is_first or filled[-1].hook != "on_epoch_end":  # else there is nothing to observe
                filled.append(Event("on_metrics", (fresh,)))
            trains = validates = is_first = False
        else:
            trains |= event.hook == "on_batch_end"
            validates |= event.hook == "on_evaluate_end"
            filled.append(Event("on_epoch_end", (*event.arguments, own)) if event.hook == "on_epoch_end" else event)
    return filled


_SELDOM: Final = st.sampled_from([False] * 9 + [True])
_MOSTLY_NOTHING: Final = st.sampled_from([""] * 36 + ["evaluate", "predict", "checkpoint", "stop"])
_OFTEN_OBSERVED: Final = st.sampled_from(
    ["", "evaluate observe"] * 12
    + ["evaluate stop observe", "evaluate checkpoint evaluate predict observe", "evaluate observe evaluate"]
)


def between(what: str, epoch: int, metrics: Callable[[], dict[str, float]]) -> list[Event]:
    """Return what happens between a loop's own events, for each word of `what`.

    The words are "evaluate", "predict", "checkpoint", "stop", and "observe" for an observation that has no metrics yet.
    """
    return [event for word in what.split() for event in _between(word, epoch, metrics)]


def _between(word: str, epoch: int, metrics: Callable[[], dict[str, float]]) -> list[Event]:
    match word:
        case "evaluate":
            batch = [Event("on_evaluate_batch_begin", (0,)), Event("on_evaluate_batch_end", (0, metrics()))]
            return [Event("on_evaluate_begin"), *batch, Event("on_evaluate_end", (metrics(),))]
        case "predict":
            batch = [Event("on_predict_batch_begin", (0,)), Event("on_predict_batch_end", (0,))]
            return [Event("on_predict_begin"), *batch, Event("on_predict_end")]
        case "checkpoint":
            return [Event("on_checkpoint", (SavedCheckpoint(Path(f"epoch-{epoch}"), epoch, 0),))]
        case "stop":
            return [Event("stop", (f"voted in epoch {epoch}",))]
        case _:
            return [Event("on_metrics")]


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


@st.composite
def _sequences(
    draw: DrawFn, *, runs: tuple[int, int], max_epochs: int, endings: Sequence[str], resumes: bool, by_steps: bool, epochs: Epochs
) -> list[Event]:
    kinds = ["", "", "", "evaluate", "predict"]
    outside = st.sampled_from(kinds).map(lambda what: between(what, 0, lambda: dict.fromkeys(epochs.trained, 1.0)))
    events: list[Event] = []
    ended: list[int] = []
    for _ in range(draw(st.integers(*runs))):
        events += draw(outside)
        first = draw(st.sampled_from([0, 0, 0, 3]))
        if resumes and ended and draw(st.booleans()):
            first = draw(st.sampled_from(ended)) + 1
            events.append(Event("resume", (first - 1,)))
        kind = attrs.evolve(epochs, at_once=draw(st.sampled_from([1, 1, 2])), by_steps=by_steps and draw(st.booleans()))
        begin = [Event("on_train_begin"), *draw(outside)]
        run = draw(kind.events(first, draw(st.integers(0, max_epochs)), endings, begin))
        events += run
        ended = [event.arguments[0] for event in run if event.hook == "on_epoch_end"]
    return [*events, *draw(outside)]
