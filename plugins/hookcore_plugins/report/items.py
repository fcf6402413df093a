"""The items in the lists of a recorded run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hookcore import Monitor
from hookcore.authoring import place_in_words

if TYPE_CHECKING:
    from hookcore import History
    from hookcore.authoring import Mode


@attrs.frozen
class Failure:
    """An error that a plugin raised."""

    plugin: str
    hook: str
    error: str
    traceback: str
    disabled: bool


@attrs.frozen
class KeptCheckpoint:
    """A checkpoint that is kept, and why."""

    path: str
    epoch: int
    step: int
    metric: str | None
    value: float | None
    reasons: str


@attrs.frozen
class Part:
    """A part of the run, in one process. It ends with the run, or with the checkpoint from which the next part resumes."""

    began: float
    """The time at which it began, in seconds since 1970."""
    seconds: float
    step: int
    """The step at which it began."""


@attrs.frozen
class Best:
    """The best observation of a metric."""

    metric: str
    mode: Mode
    epoch: int
    value: float
    step: int | None = None
    """How many optimizer updates were done; None in a file of an earlier version."""
    by_steps: bool = False
    """Whether it was observed within its epoch, by steps."""

    @property
    def place(self) -> str:
        """The place at which it was observed, in words: `in epoch 3`, or `at step 200` for an observation by steps."""
        return place(self.epoch, self.step, by_steps=self.by_steps)


def best_of(history: History, metric: str, mode: Mode) -> Best | None:
    """Return the best observation of `metric` in `history`, or None if it has no number."""
    monitor = Monitor(mode)
    for value, epoch, step, by_steps in zip(history[metric], history.epochs, history.steps, history.by_steps, strict=True):
        monitor = monitor.observe(value, epoch, step, by_steps=by_steps)
    if monitor.best is None or monitor.best_epoch is None:
        return None
    return Best(metric, mode, monitor.best_epoch, monitor.best, monitor.best_step, monitor.by_steps)


@attrs.frozen
class Chart:
    """A metric's curves: its names in training and in validation, each None if it was not observed there."""

    metric: str
    training: str | None
    validation: str | None


def place(epoch: int, step: int | None, *, by_steps: bool) -> str:
    """Return a place in words: `in epoch 3`, counted from one, or `at step 200`."""
    return f"{'at' if by_steps else 'in'} {place_in_words(epoch, step, by_steps=by_steps)}"
