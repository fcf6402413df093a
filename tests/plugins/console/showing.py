"""Runs that Console shows, with streams that say whether they are a terminal, and a clock that the test moves."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore import Engine, Run

HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@attrs.define
class Clock:
    """Seconds that pass when the test lets them, from an arbitrary beginning."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@attrs.define
class OnDevice:
    """A number that counts how often it is read."""

    value: float
    reads: int = 0

    def __radd__(self, other: float) -> float:
        return other + self.value

    def item(self) -> float:
        self.reads += 1
        return self.value


class Talks:
    """Vote to stop at the end of the first epoch."""

    def __init__(self, message: str) -> None:
        self.message = message

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        run.stop(self.message)


def train(
    plugins: Sequence[object] | Engine,
    clock: Clock,
    epochs: Sequence[Mapping[str, Any]],
    *,
    known: bool = True,
    batches: int = 4,
    rate: float | None = 0.01,
) -> Run:
    """Train batches of a second each, which log a loss; `epochs` are logged at the ends of epochs."""
    with Loop(
        plugins,
        epochs=len(epochs) if known else None,
        steps_per_epoch=batches if known else None,
        trainee=None if rate is None else ScriptedTrainee(learning_rate=rate),
    ) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(batches)):
                clock.now += 1
                loop.log(loss=1 / (1 + epoch * batches + batch))
            loop.log(epochs[epoch])
    return loop.run


def plain(text: str) -> str:
    """Return `text` without colours and cursor movements, with one line for each picture of the bar."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.replace("\r", "\n"))


def train_by_steps(plugins: Sequence[object], clock: Clock, epochs: int = 2) -> Run:
    """Train three batches an epoch, of a second each, with an evaluation of half a second after steps 2, 4 and so on."""
    with Loop(plugins, epochs=epochs, steps_per_epoch=3, trainee=ScriptedTrainee(learning_rate=0.01)) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(3)):
                clock.now += 1
                loop.log(loss=1 / (1 + loop.run.progress.step))
                if loop.every(2):
                    with loop.evaluation():
                        clock.now += 0.5
                        loop.log(loss=1.0)
    return loop.run
