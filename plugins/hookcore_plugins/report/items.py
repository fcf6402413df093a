"""The items in the lists of a recorded run, and how they are read from `run.json`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from hookcore import Monitor
from hookcore.authoring import place_in_words, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore import History
    from hookcore.authoring import Mode

Item = TypeVar("Item")

LONGEST: Final = 10.0**11
"""The limit for seconds: more than any run takes, and more than a date can have."""


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


def build(kind: type[Item], raw: Mapping[str, Any]) -> Item:
    """Build a `kind`, an attrs class, from `raw` by its annotations. Raises `ValueError`, which names the field."""
    fields = {field.name: str(field.type) for field in attrs.fields(kind)}  # type: ignore[arg-type]  # an attrs class
    return kind(**{name: _typed(f"{kind.__name__}.{name}", value, fields.get(name, "")) for name, value in raw.items()})


def _typed(name: str, value: Any, annotation: str) -> Any:
    plain = annotation.removesuffix(" | None")
    if value is None and plain != annotation:
        return None
    convert: Callable[[str, Any], Any] = {"int": whole, "float": number, "bool": truth}.get(plain, text)
    return convert(name, value)


def whole(name: str, value: Any) -> int:
    """Return `value`, read from a file, if it is a whole number. Otherwise raises `ValueError`, which has `name`."""
    if type(value) is not int or not 0 <= value <= sys.maxsize:
        raise ValueError(f"{name} must be a whole number of at least 0, got {_shown(value)}")
    return value


def number(name: str, value: Any) -> float:
    """Return `value` if it is a number; raises as `whole` does, and so do the next three."""
    if not (type(value) is float or (type(value) is int and abs(value) <= sys.maxsize)):
        raise ValueError(f"{name} must be a number, got {_shown(value)}")
    return float(value)


def duration(name: str, value: Any) -> float:
    """Return `value` if it is a finite number of seconds."""
    seconds = number(name, value)
    if not 0 <= seconds < LONGEST:
        raise ValueError(f"{name} must be a number of seconds, got {_shown(value)}")
    return seconds


def truth(name: str, value: Any) -> bool:
    """Return `value` if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {_shown(value)}")  # noqa: TRY004 - the file is wrong, not the code
    return value


def text(name: str, value: Any) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, got {_shown(value)}")  # noqa: TRY004 - the file is wrong, not the code
    return value


def _shown(value: Any) -> str:
    return printable(repr(value), 100)
