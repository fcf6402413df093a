"""Events as values, and which sequences of them are legal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from hookcore import HOOKS, Outcome
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What may begin within what; None is outside of everything.
_WITHIN: Final[Mapping[str, set[str | None]]] = {
    "train": {None},
    "epoch": {"train"},
    "batch": {"epoch"},
    "evaluate": {None, "train", "epoch", "batch"},
    "evaluate_batch": {"evaluate"},
    "predict": {None, "train", "epoch", "batch"},
    "predict_batch": {"predict"},
}
_HOLDS_BATCHES: Final = {"batch": "epoch", "evaluate_batch": "evaluate", "predict_batch": "predict"}
_BEFORE_OBSERVATION: Final = {"on_checkpoint", "stop"}
"""What plugins may do between the end of an epoch and its observation."""


@attrs.frozen
class Event:
    """A hook's name, and its arguments after `run` in the hook's order; metrics are a dict.

    Two events are not hooks. `Event("resume", (epoch,))` comes before `on_train_begin`: the run resumes from the end of `epoch`
    in the previous run, after that epoch's observation. `Event("stop", (message,))` is a vote to stop by another plugin.
    """

    hook: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.hook}({', '.join(map(repr, self.arguments))})"


def check_events(events: Iterable[Event | tuple[Any, ...]]) -> None:
    """Raise `AssertionError` for the first event that is out of order, or if the events end within a run.

    Takes sequences of `event_sequences` and the events of a `RecordingPlugin`. The rules:

    * A run begins with `on_train_begin` and ends with `on_train_end`. Its epochs count up by one, from any number.
    * The batches of an epoch, an evaluation or a prediction count from 0 without a gap. An `on_..._batch_end` may have a greater
      number than its begin, if the loop does several batches at a time.
    * The last batch may lack an end, because some loops notice the end of their data only when they ask for another batch. The
      last epoch may lack an end, if the loop is left in the middle of it.
    * Evaluations and predictions may come anywhere. Outside a run they may break off.
    * `on_metrics` is an observation. One follows each `on_epoch_end`, with only checkpoints and votes between them. If the epoch
      has already had an observation, the one at its end may be omitted, and may not be empty.
    * Within an epoch, `on_metrics` may come after a batch and then an evaluation have ended, while nothing but the epoch is open,
      and at most once before the next batch.
    * `on_exception` may come anywhere in a run. Only checkpoints and `on_train_end` may follow it.
    * A checkpoint comes only within a run. No epoch begins after a vote to stop.
    """
    position = _Position()
    listed = [event if isinstance(event, Event) else Event(event[0], event[1:]) for event in events]
    for number, event in enumerate(listed):
        problem = position.take(event)
        if problem is not None:
            before = ", ".join(map(str, listed[max(0, number - 3) : number])) or "nothing"
            raise AssertionError(f"Event {number}, {event}, is out of order: {problem}. Before it: {before}.")
    if position.training:
        raise AssertionError(f"The events end within a run: there is no on_train_end after {listed[-1]}.")


def is_legal(events: Iterable[Event | tuple[Any, ...]]) -> bool:
    """Return whether `check_events` passes."""
    try:
        check_events(events)
    except AssertionError:
        return False
    return True


@attrs.define
class _Position:
    """What is open, and what comes next, after some events of a sequence."""

    open: list[tuple[str, Any]] = attrs.field(factory=list)
    """What has begun and not ended, outermost first, each with its number."""
    next_epoch: int | None = None
    """The number that the next epoch must have, or None before a run's first."""
    next_batch: dict[str, int] = attrs.field(factory=dict)
    observable: Literal["", "batch", "evaluated", "epoch"] = ""
    """What ended last and has had no observation: a batch, a batch and then an evaluation, or an epoch."""
    observed: bool = False
    """Whether the latest epoch had an observation."""
    ended_epochs: set[int] = attrs.field(factory=set)
    """The epochs that ended in the latest run: the next run may resume from any of them."""
    failed: bool = False
    stopped: bool = False
    resumed: bool = False

    @property
    def training(self) -> bool:
        return bool(self.open) and self.open[0][0] == "train"

    def take(self, event: Event) -> str | None:
        """Take the next event; return what is wrong with it, or None."""
        return self._misplaced(event.hook, event.arguments) or self._move(event.hook, event.arguments)

    def _misplaced(self, hook: str, arguments: tuple[Any, ...]) -> str | None:
        if self.resumed and hook != "on_train_begin":
            return "on_train_begin must follow resume"
        if hook not in {*HOOKS, "resume", "stop"}:
            return f"there is no such hook.{did_you_mean(hook, HOOKS)}"
        if len(arguments) < len(HOOKS.get(hook, ())) - 1:
            return f"its arguments must be {', '.join(HOOKS[hook][1:])}"
        if self.failed and hook not in {"on_checkpoint", "on_train_end"}:
            return "an exception has ended the run"
        if self.observable == "epoch" and not self.observed and hook not in {*_BEFORE_OBSERVATION, "on_metrics", "on_exception"}:
            return "the epoch that ended had no on_metrics"
        return None

    def _move(self, hook: str, arguments: tuple[Any, ...]) -> str | None:
        number = arguments[0] if arguments else None
        if hook == "on_metrics":
            return self._observe(arguments[0])
        if self.observable == "epoch" and hook not in _BEFORE_OBSERVATION:
            self.observable = ""
        if hook == "resume":
            return self._resume(number)
        if hook in {"stop", "on_checkpoint", "on_exception"}:
            self.stopped |= hook == "stop"
            self.failed |= hook == "on_exception"
            return None if self.training else "no run is open"
        what, _, end = hook.removeprefix("on_").rpartition("_")
        if end == "begin":
            return self._begin(what, number)
        return self._end_run(arguments) if what == "train" else self._end(what, number)

    def _observe(self, metrics: Any) -> str | None:
        if not self.training:
            return "no run is open"
        if self.open[-1][0] not in {"train", "epoch"}:
            return f"{self.open[-1][0]} is open"
        if self.observable not in {"epoch", "evaluated"}:
            return "neither has an epoch just ended, nor a batch and then an evaluation"
        if self.observable == "epoch" and self.observed and not metrics:
            return "it has no metrics, and the epoch has already had an observation"
        self.observable, self.observed = "", True
        return None

    def _resume(self, epoch: Any) -> str | None:
        if self.training:
            return "a run is already open"
        if epoch not in self.ended_epochs:
            return f"epoch {epoch} did not end in the previous run"
        self.resumed, self.next_epoch = True, epoch + 1
        return None

    def _begin(self, what: str, number: Any) -> str | None:
        if self.open and not self.training and what in {"train", "evaluate", "predict"}:
            self.open.clear()  # outside of a run, an evaluation or a prediction may break off
        around = self.open[-1][0] if self.open else None
        if around not in _WITHIN[what]:
            return f"{'nothing' if around is None else around} is open"
        if what == "train":
            self.next_epoch = self.next_epoch if self.resumed else None
            self.ended_epochs, self.resumed, self.stopped, self.observable = set(), False, False, ""
        elif what == "epoch":
            if self.stopped:
                return "a plugin has voted to stop"
            if number < 0 or self.next_epoch not in {None, number}:
                return f"epoch {self.next_epoch or 0} is next"
            self.next_epoch = number + 1
            self.observed = False
        elif what in _HOLDS_BATCHES and number != self.next_batch[what]:
            return f"batch {self.next_batch[what]} is next"
        self.next_batch.update((batch, 0) for batch, holder in _HOLDS_BATCHES.items() if holder == what)
        self.open.append((what, number))
        return None

    def _end(self, what: str, number: Any) -> str | None:
        if self.open and _HOLDS_BATCHES.get(self.open[-1][0]) == what:
            self.open.pop()  # a batch that was asked for and did not exist
        if not self.open or self.open[-1][0] != what:
            return f"{self.open[-1][0] if self.open else 'nothing'} is open"
        _, begun = self.open.pop()
        if what == "epoch":
            self.ended_epochs.add(number)
            self.observable = "epoch"
        elif what in _HOLDS_BATCHES:
            self.next_batch[what] = number + 1
        if what == "batch":
            self.observable = "batch"
        elif what == "evaluate" and self.observable == "batch":
            self.observable = "evaluated"
        if (what == "epoch" and number != begun) or (what in _HOLDS_BATCHES and number < begun):
            return f"{what} {begun} is open"
        return None

    def _end_run(self, arguments: tuple[Any, ...]) -> str | None:
        if not self.training:
            return "no run is open"
        if not self.failed and not {what for what, _ in self.open} <= {"train", "epoch", "batch"}:
            return f"{self.open[-1][0]} is open"
        if arguments and self.failed == (arguments[0] in {Outcome.COMPLETED, Outcome.STOPPED}):
            return f"its outcome is {arguments[0]}, but the run ended {'with an' if self.failed else 'without an'} exception"
        self.open.clear()
        self.failed = False
        return None
