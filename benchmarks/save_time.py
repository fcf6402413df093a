"""Measure the time that training loses for each save: a run that saves now and then, minus the same run without saves.

This is all that a user waits for: the call of the save, the steps that are slower while the checkpoint is written beside them,
and any that are slower later. The floor is one copy of the same arrays into memory that is already allocated, timed in a run
that copies at the same steps. All candidates train with `fit`, with batches of one sample, so that a step is as short as it can
be. The time between two saves is about twice the time of a save. Two more rows show what the machine asks for writing beside a
training that uses its cores: one plain file that another thread writes, not synced; and the same file with the SHA-256 by which
a checkpoint is verified.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import keras
import numpy as np

from checkpoint import COPY, KERAS, build, values
from hookcore import Engine, Run, hookimpl
from hookcore_adapters.keras import fit
from hookcore_plugins import Checkpoint
from side_by_side import Gate, Table, benchmark, measure, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS: Final = "Checkpoint"
ALONE: Final = "no save"
SAVES: Final = 6
PLAIN: Final = "one plain file, on a thread"
HASHED: Final = "the same, hashed"
LIMIT: Final = "If training uses all cores, writing and hashing always take time from it: see the rows of the plain file."


@attrs.define(eq=False)
class Copier:
    """Copies everything that a save must hold, every `every` steps."""

    every: int
    copies: Sequence[Any]
    taken: list[float] = attrs.field(factory=list)
    """The seconds of each copy."""

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        """Copy, if a save is due."""
        if run.progress.step % self.every == 0:
            arrays = [keras.ops.convert_to_numpy(variable) for variable in (*run.model.variables, *run.model.optimizer.variables)]
            began = time.perf_counter()
            for copied, array in zip(self.copies, arrays, strict=True):
                np.copyto(copied, array)
            self.taken.append(time.perf_counter() - began)


@attrs.define(eq=False)
class PlainFile:
    """Writes everything that a save must hold into one file, on another thread, every `every` steps."""

    every: int
    path: Path
    hashed: bool = False

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        """Write, if a save is due."""
        if run.progress.step % self.every == 0:
            variables = (*run.model.variables, *run.model.optimizer.variables)
            values = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
            threading.Thread(target=self._write, args=(values,)).start()

    def _write(self, values: Sequence[Any]) -> None:
        self.path.unlink(missing_ok=True)
        with self.path.open("wb", buffering=0) as file:
            digest = hashlib.sha256()
            for value in values:
                file.write(value)
                if self.hashed:
                    digest.update(value)


@attrs.define(eq=False)
class Clock:
    """Notes when each step ends."""

    ends: list[float] = attrs.field(factory=list)

    @hookimpl
    def on_batch_end(self) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def trains(model: Any, steps: int, plugins: Sequence[Any] = (), callbacks: Sequence[Any] = ()) -> list[float]:
    """Train; return the seconds from the end of each step to the end of the next."""
    model.optimizer.iterations.assign(0)
    data = np.zeros((steps, model.input_shape[1]), "float32")
    os.sync()
    clock = Clock()
    engine = Engine([clock, *plugins], autoload=False)
    fit(model, data, data, batch_size=1, verbose=0, shuffle=False, plugins=engine, callbacks=list(callbacks))
    return [after - before for before, after in itertools.pairwise(clock.ends)]


def every_of(model: Any, directory: Path) -> int:
    """Return how many steps take as long as two saves."""
    steps = trains(model, 10)
    saves = trains(model, 4, [Checkpoint(directory / "first", every_n_epochs=None, every_n_steps=1, asynchronous=False)])
    return max(2, math.ceil(2 * statistics.median(saves) / statistics.median(steps)))


def lost(taken: Sequence[float], alone: Sequence[float], every: int) -> float:
    """Return the seconds that a save costs: by how much the steps between two saves are slower than those of a run without.

    For each distance from a save, the median of the steps counts, because other work on the machine makes some steps slow.
    """
    after = [statistics.median(taken[first::every]) for first in range(every)]
    return sum(after) - every * statistics.median(alone)


def measured(megabytes: float, optimizer: str, rounds: int) -> tuple[dict[str, list[float]], int]:
    """Return the seconds that each candidate costs per save, by round, and the number of steps between two saves."""
    model = build(megabytes, optimizer)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        every = every_of(model, directory)
        steps = (SAVES + 1) * every
        copier = Copier(every, [np.empty_like(value) for value in values(model)])
        rows: dict[str, list[list[float]]] = {}

        def noted(way: str, plugins: Sequence[Any] = (), callbacks: Sequence[Any] = ()) -> float:
            taken = trains(model, steps, plugins, callbacks)
            rows.setdefault(way, []).append(taken[every - 1 :])  # from the first save on
            return 0.0

        def copy() -> float:
            copier.taken.clear()
            trains(model, 2 * every, [copier])
            return statistics.median(copier.taken)

        def ours() -> float:
            shutil.rmtree(directory / "ours", ignore_errors=True)
            return noted(OURS, [Checkpoint(directory / "ours", every_n_epochs=None, every_n_steps=every, keep_last=1)])

        def of_keras() -> float:
            return noted(KERAS, callbacks=[keras.callbacks.ModelCheckpoint(directory / "model.keras", save_freq=every)])

        candidates: dict[str, Callable[[], float]] = {
            COPY: copy,
            PLAIN: lambda: noted(PLAIN, [PlainFile(every, directory / "plain")]),
            HASHED: lambda: noted(HASHED, [PlainFile(every, directory / "hashed", hashed=True)]),
            OURS: ours,
            KERAS: of_keras,
            ALONE: lambda: noted(ALONE),
        }
        figures = measure(candidates, rounds)
    for way in (PLAIN, HASHED, OURS, KERAS):
        pairs = zip(rows[way][1:], rows[ALONE][1:], strict=True)  # the first round warms up
        figures[way] = [lost(taken, alone, every) for taken, alone in pairs]
    del figures[ALONE]
    return figures, every


@benchmark
@click.option("--sizes", default="50", show_default=True, help="Megabytes of weights, separated by commas.")
@click.option("--optimizers", default="sgd,adam", show_default=True, help="Adam's state is twice the weights; sgd adds nothing.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=2))
def main(sizes: str, optimizers: str, rounds: int) -> Iterator[Table | Gate]:
    """Print the time that training loses for each save."""
    for megabytes in map(float, sizes.split(",")):
        for optimizer in optimizers.split(","):
            figures, every = measured(megabytes, optimizer, rounds)
            case = f"{megabytes:g} MB, {optimizer}"
            yield Table(f"{case}: time lost for each save, one every {every} steps", "ms", figures)
            median = {name: spread(own)[1] for name, own in figures.items()}
            yield Gate(f"{case}: time lost, x memory copy", median[OURS] / median[COPY], 2, LIMIT, room=50)
            yield Gate(f"{case}: time lost, x ModelCheckpoint", median[OURS] / median[KERAS], 1 / 10, LIMIT, room=10)


if __name__ == "__main__":
    main()
