"""What a recorded run has several of, and how it is read from `run.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from hookcore.authoring import place_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hookcore.authoring import Mode

Item = TypeVar("Item")

_NUMBERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("value", "best", "seconds", "began"), float),
    **dict.fromkeys(("best_epoch", "best_step"), int),
}


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
    """A part of the run, in one process: it ends with the run, or with the checkpoint from which the next part resumes."""

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
        """The place at which it was observed, in words: `in epoch 3`, or `at step 200` if that was by steps."""
        return place(self.epoch, self.step, by_steps=self.by_steps)


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
    """Build a `kind` from `raw`, with a plain number for each field that holds one, and a string for any other."""
    return kind(**dict(_fields(raw)))


def _fields(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if name in {"epoch", "step", "batch", "accumulated"}:
            yield name, int(value)
        elif value is None or isinstance(value, bool):
            yield name, value
        else:
            yield name, _NUMBERS.get(name, str)(value)
