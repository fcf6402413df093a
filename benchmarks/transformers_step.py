"""Measure what callbacks cost per step inside `Trainer`'s real step.

The inner loop of `Trainer` is run by hand: the four events of a step, in order, with the forward and backward pass and the
update of a small model between the first and the second. Only the events are timed, including the timer. The candidate changes
every 50 steps, and the first 5 after a change do not count. A figure is the median step of such a block. `DefaultFlowCallback`,
without which `Trainer` does not log, evaluate or save, is in all rows; the first row has nothing else, and is in the table
twice: how far the second is from 1 is noise. Measurements begin after the first batches, all of which hookcore times itself.

Both sets of four do the same jobs: stop early, save the best, end after a while, and log the metrics. `Trainer` has callbacks
for the first and the last; for the others the table has the shortest callback that does the job. The counting ones count the
ends of steps; that they miss none is checked.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import attrs
import click
import torch
from transformers import (
    DefaultFlowCallback,
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    get_constant_schedule,
)
from transformers.trainer_callback import CallbackHandler
from transformers.utils import logging as of_transformers

from hookcore.timing import FIRST_WINDOW
from hookcore_adapters.transformers import TransformersAdapter
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, TimeLimit
from side_by_side import Counter, Gate, Table, benchmark, engine_of, gates_of_added, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS, COLD = 50, 5
WARM: Final = FIRST_WINDOW + STEPS
MANY: Final = 10**9
"""More steps than a benchmark does."""
FLOOR, AGAIN = "Trainer's default callback", "Trainer's default callback again"
THEIRS, OURS = "4 callbacks for Trainer", "TransformersAdapter, the same 4 jobs"
COUNTING, COUNTERS = "4 counting callbacks", "TransformersAdapter, 4 counting plugins"
GATES: Final = {(OURS, THEIRS): 1.0, (COUNTERS, COUNTING): 0.8}
"""What the first of each pair may add to a step, as a multiple of what the second adds."""


class CountingCallback(TrainerCallback):  # type: ignore[misc]  # the same
    """Counts the ends of steps, as `Counter` does, as a callback."""

    n = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count."""
        del args, state, control, kwargs
        self.n += 1


class TimeLimitCallback(TrainerCallback):  # type: ignore[misc]  # the same
    """Stops after twelve hours."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        del args, state, control, kwargs
        self.end = time.monotonic() + 12 * 3600

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop if the time is over."""
        del args, state, kwargs
        if time.monotonic() > self.end:
            control.should_training_stop = True


class SaveBestCallback(TrainerCallback):  # type: ignore[misc]  # the same
    """Saves if the metric is the best so far."""

    best = float("inf")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Compare."""
        del args, state, kwargs
        control.should_save = metrics["eval_loss"] < self.best
        self.best = min(self.best, metrics["eval_loss"])


def for_trainer() -> Sequence[Any]:
    """Return `Trainer` callbacks for four jobs."""
    return [EarlyStoppingCallback(3), SaveBestCallback(), TimeLimitCallback(), PrinterCallback()]


def by_hookcore(directory: Path) -> Sequence[Any]:
    """Return the adapter with plugins for the same jobs."""
    plugins = [
        EarlyStopping("eval_loss", patience=3),
        Checkpoint(directory / "ours", monitor="eval_loss", save_best_only=True),
        TimeLimit(12 * 3600),
        CSVLog(directory / "log.csv"),
    ]
    return [TransformersAdapter(plugins)]


@attrs.define(eq=False)
class Way:
    """A callback handler as `Trainer` creates it, in the middle of an epoch that does not end."""

    handler: CallbackHandler
    args: TrainingArguments
    state: TrainerState
    control: TrainerControl
    listeners: Sequence[Any] = ()

    @classmethod
    def of(cls, callbacks: Sequence[Any], args: TrainingArguments, listeners: Sequence[Any] = ()) -> Way:
        """Return the handler of `callbacks` and the default callback."""
        layer = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        handler = CallbackHandler([DefaultFlowCallback(), *callbacks], layer, None, optimizer, get_constant_schedule(optimizer))
        handler.train_dataloader = range(MANY)
        state = TrainerState(max_steps=MANY, num_train_epochs=1, logging_steps=MANY)
        way = cls(handler, args, state, TrainerControl(), listeners)
        handler.on_train_begin(args, state, way.control)
        handler.on_epoch_begin(args, state, way.control)
        return way


def block(way: Way, step: Callable[[], None], steps: int = STEPS) -> float:
    """Return the seconds that the events of a block's median step took."""
    clock, handler, args, state, control = time.perf_counter, way.handler, way.args, way.state, way.control
    taken = []
    for _ in range(steps):
        began = clock()
        handler.on_step_begin(args, state, control)
        begun = clock()
        step()
        stepped = clock()
        handler.on_pre_optimizer_step(args, state, control)
        handler.on_optimizer_step(args, state, control)
        state.global_step += 1
        state.epoch = state.global_step / MANY
        handler.on_step_end(args, state, control)
        taken.append(clock() - stepped + begun - began)
    return statistics.median(taken[COLD:])


def small() -> Callable[[], None]:
    """Return a step of a small model: forward, backward and update."""
    model = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    x, labels = torch.randn(64, 128), torch.randint(10, (64,))

    def step() -> None:
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ways(directory: Path) -> dict[str, Way]:
    """Return all candidates."""
    args = TrainingArguments(
        str(directory),
        eval_strategy="epoch",
        logging_strategy="steps",
        logging_steps=MANY,
        save_strategy="no",
        metric_for_best_model="loss",
        report_to="none",
        use_cpu=True,
    )
    counting, counters = [CountingCallback() for _ in range(4)], [Counter() for _ in range(4)]
    return {
        FLOOR: Way.of([], args),
        AGAIN: Way.of([], args),
        THEIRS: Way.of(for_trainer(), args),
        OURS: Way.of(by_hookcore(directory), args),
        COUNTING: Way.of(counting, args, counting),
        COUNTERS: Way.of([TransformersAdapter(engine_of(counters))], args, counters),
    }


@benchmark
@click.option("--rounds", default=31, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what callbacks cost per step."""
    torch.set_num_threads(1)
    of_transformers.set_verbosity_error()
    logging.getLogger("hookcore").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        candidates, step = ways(Path(directory)), small()
        for way in candidates.values():
            block(way, step, WARM)

        def sample(way: Way) -> Callable[[], float]:
            # Its own copy of the loop: CPython adapts the code of a loop to what it calls, and `Trainer` has one handler only.
            own: Any = types.FunctionType(block.__code__.replace(), globals(), argdefs=block.__defaults__)
            return lambda: own(way, step)

        figures = measure({name: sample(way) for name, way in candidates.items()}, rounds)
        expected = WARM + (1 + rounds) * STEPS
        for name, way in candidates.items():
            counts = {listener.n for listener in way.listeners}
            assert counts <= {expected}, f"{name}: {counts} steps, {expected} expected"  # noqa: S101 - the check
            for adapter in (one for one in way.handler.callbacks if isinstance(one, TransformersAdapter)):
                run = adapter.engine.run
                steps = None if run is None else run.progress.step
                assert steps == expected, f"{name}: {steps} steps, {expected} expected"  # noqa: S101 - the check
    yield Table("callbacks of one step in Trainer", "us", figures, floor=FLOOR, ours=OURS)
    yield from gates_of_added(figures, FLOOR, GATES)


if __name__ == "__main__":
    main()
