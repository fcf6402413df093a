"""Runs with a report, for the tests of all its parts."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Run, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Report, RunReport

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.resume import Resume

Epochs = Sequence[Mapping[str, float]]


@attrs.define
class Clock:
    """Seconds that pass when a test adds them."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def recorded(
    directory: Path,
    epochs: Epochs,
    plugins: Sequence[object] = (),
    *,
    asked: int | None = None,
    trainee: Any = None,
    **parameters: Any,
) -> RunReport:
    """Record a run of one batch per epoch that logs each of `epochs`, and read it; an epoch beyond them ends it with an error."""
    report = Report(directory, stream=io.StringIO(), **parameters)
    trainee = ScriptedTrainee(learning_rate=0.1) if trainee is None else trainee
    try:
        with Loop([*plugins, report], epochs=asked or len(epochs), trainee=trainee) as loop:
            for epoch in loop.epochs():
                for _ in loop.batches([0]):
                    pass
                loop.log(epochs[epoch])
    except IndexError:
        pass
    return RunReport.read(directory)


EVALUATED = [0.9, 0.5, 0.7, 0.6, 0.8, 0.9]
"""What the evaluations of `by_steps` give, at steps 4, 8, 12, 16, 20 and 24."""


def by_steps(
    directory: Path,
    plugins: Iterable[object] = (),
    *,
    prefix: str | None = None,
    size: int = 5,
    every: int = 4,
    cut: int | None = None,
    resume: Resume = False,
    **parameters: Any,
) -> RunReport:
    """Record five epochs of `size` steps with an evaluation every `every`: rows at steps 4, 5, 8, 10, 12, ...

    The clock of `parameters` moves by a second in each step. Before step `cut` an error ends the run.
    """
    clock = parameters.setdefault("clock", Clock())
    report = Report(directory, stream=io.StringIO(), now=clock, **parameters)
    trainee = ScriptedTrainee(learning_rate=0.1)
    with (
        contextlib.suppress(ZeroDivisionError),
        Loop([*plugins, report], epochs=5, trainee=trainee, validation_freq=None, resume=resume) as loop,
    ):
        for _ in loop.epochs():
            for _ in loop.batches(range(size)):
                step = loop.run.progress.step + 1
                if step == cut:
                    raise ZeroDivisionError
                clock.now += 1
                loop.log(loss=1.0 / step)
                if loop.every(every):
                    with loop.evaluation(prefix):
                        loop.log(loss=EVALUATED[step // every - 1])
    return RunReport.read(directory)


@attrs.define(eq=False)
class Stops:
    """Vote to stop at the end of an epoch."""

    at: int
    message: str = "enough"

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        if epoch == self.at:
            run.stop(self.message)


HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "x' onload='document.title=1",
    "</style></svg></title><script>document.title='owned'</script>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{$",
    "\x1b[31mred\x00\nline",
    "\N{CJK UNIFIED IDEOGRAPH-6570}",
    "val_",
    "_hidden",
    "l" * 400,
    "&amp;",
]
"""Names that would run or break the page if they were not escaped, and others that are hard to draw."""

ODD: dict[str, Epochs] = {
    "no epoch": [],
    "one epoch": [{"loss": 0.5, "val_loss": 0.6}],
    "nothing logged": [{}, {}],
    "no finite value": [{"loss": math.nan, "val_loss": math.inf}] * 3,
    "huge and tiny": [{"loss": value} for value in (1e308, -1e308, 1e-320, -math.inf, 0.0)],
    "gaps": [{"loss": 1 / (i + 1)} | ({"val_loss": 1.1 / (i + 1)} if i % 5 == 4 else {}) for i in range(15)],
    "only validation": [{"val_loss": 1.0}, {"val_loss": 0.5}],
    "forty metrics": [{f"metric_{i}": i + epoch for i in range(40)} for epoch in range(3)],
    "two thousand epochs": [{"loss": math.sin(i / 100)} for i in range(2000)],
    "names": [dict.fromkeys([name for name in HOSTILE if name.isprintable()], 1.0 + i) for i in range(2)],
}
