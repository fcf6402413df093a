"""Measure the time that training loses for each save: by how much the steps after it are slower than later ones.

This is all that a user waits for: the call of the save, and the steps that are slower while the checkpoint is written beside
them. The saves are so far apart that each should be written within half of the steps between two, and a note tells how many
were not; the other half shows how fast a step is without a save, so that a machine whose speed drifts changes both. "No save"
is the same for a run without saves: noise. The floor is one copy of the same arrays into memory that is already allocated. All
candidates train with `fit`, with batches of one sample, so that a step is as short as it can be. Three more rows show what the
machine asks for writing beside a training that uses its cores, with a snapshot that copies nothing: one plain file that
another thread writes; the same file, synced; and also with the SHA-256 by which a checkpoint is verified.
"""

from __future__ import annotations

import functools
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
from hookcore_adapters.keras.snapshot import value_of
from hookcore_plugins import Checkpoint
from side_by_side import Gate, Table, benchmark, measure, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS: Final = "Checkpoint"
ALONE: Final = "no save"
PLAIN, SYNCED, HASHED = "one plain file, on a thread", "the same, synced", "the same, synced and hashed"
LIMIT: Final = "If training uses all cores, writing, syncing and hashing take time from it: see the rows of the plain file."


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
    synced: bool = False
    hashed: bool = False
    _thread: threading.Thread | None = None

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        """Write, if a save is due."""
        if run.progress.step % self.every == 0:
            self.on_train_end()
            values = [value_of(variable) for variable in (*run.model.variables, *run.model.optimizer.variables)]
            self._thread = threading.Thread(target=self._write, args=(values,))
            self._thread.start()

    @hookimpl
    def on_train_end(self) -> None:
        """Wait until all is written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, values: Sequence[Any]) -> None:
        self.path.unlink(missing_ok=True)
        with self.path.open("wb") as file:
            digest = hashlib.sha256()
            for value in values:
                file.write(memoryview(value))
                if self.hashed:
                    digest.update(memoryview(value))
            file.flush()
            if self.synced:
                os.fsync(file.fileno())


@attrs.define(eq=False)
class Halfway:
    """Counts the saves of `plugin`, and those that are still being written halfway to the next."""

    every: int
    plugin: Checkpoint
    saves: int = 0
    late: int = 0

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        """Count, if this is halfway."""
        if run.progress.step > self.every and run.progress.step % self.every == self.every // 2:
            self.saves += 1
            self.late += self.plugin._writes.unfinished() > 0  # noqa: SLF001 - only a benchmark has to know


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
    """Return how many steps take as long as six saves that nothing disturbs."""
    steps = trains(model, 10)
    saves = trains(model, 4, [Checkpoint(directory / "first", every_n_epochs=None, every_n_steps=1, asynchronous=False)])
    return max(4, math.ceil(6 * statistics.median(saves) / statistics.median(steps)))


def lost(taken: Sequence[float], every: int) -> float:
    """Return the seconds that a save costs: by how much the first half of the steps after it is slower than the second.

    For each distance from a save, the median of the steps counts, because other work on the machine makes some steps slow.
    """
    after = [statistics.median(taken[first::every]) for first in range(every)]
    half = every // 2
    return sum(after[:half]) - half * statistics.median(after[half:])


def measured(megabytes: float, optimizer: str, rounds: int, saves: int) -> tuple[dict[str, list[float]], Halfway]:
    """Return the seconds that each candidate costs per save, by round, and the counts of ours."""
    model = build(megabytes, optimizer)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        every = every_of(model, directory)
        halfway = Halfway(every, Checkpoint(directory / "ours", every_n_epochs=None, every_n_steps=every, keep_last=1))
        copier = Copier(every, [np.empty_like(value) for value in values(model)])

        def costs(plugins: Sequence[Any] = (), callbacks: Sequence[Any] = ()) -> float:
            taken = trains(model, (saves + 1) * every, plugins, callbacks)
            return lost(taken[every - 2 :], every)  # from the first save on, which comes before or after that step is noted

        def copy() -> float:
            copier.taken.clear()
            trains(model, 2 * every, [copier])
            return statistics.median(copier.taken)

        def ours() -> float:
            shutil.rmtree(directory / "ours", ignore_errors=True)
            return costs([halfway.plugin, halfway])

        def of_keras() -> float:
            return costs(callbacks=[keras.callbacks.ModelCheckpoint(directory / "model.keras", save_freq=every)])

        file = functools.partial(PlainFile, every, directory / "plain")
        candidates: dict[str, Callable[[], float]] = {
            COPY: copy,
            PLAIN: lambda: costs([file()]),
            SYNCED: lambda: costs([file(synced=True)]),
            HASHED: lambda: costs([file(synced=True, hashed=True)]),
            OURS: ours,
            KERAS: of_keras,
            ALONE: costs,
        }
        return measure(candidates, rounds), halfway


@benchmark
@click.option("--sizes", default="50", show_default=True, help="Megabytes of weights, separated by commas.")
@click.option("--optimizers", default="sgd,adam", show_default=True, help="Adam's state is twice the weights; sgd adds nothing.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=2))
@click.option("--saves", default=6, show_default=True, type=click.IntRange(min=1), help="The number of saves in a run.")
def main(sizes: str, optimizers: str, rounds: int, saves: int) -> Iterator[Table | Gate | str]:
    """Print the time that training loses for each save."""
    for megabytes in map(float, sizes.split(",")):
        for optimizer in optimizers.split(","):
            figures, halfway = measured(megabytes, optimizer, rounds, saves)
            case = f"{megabytes:g} MB, {optimizer}"
            yield Table(f"{case}: time lost for each save, one every {halfway.every} steps", "ms", figures)
            yield f"{halfway.late} of {halfway.saves} saves by {OURS} were still being written halfway to the next."
            median = {name: spread(own)[1] for name, own in figures.items()}
            yield Gate(f"{case}: time lost, x memory copy", median[OURS] / median[COPY], 2, LIMIT, room=50)
            yield Gate(f"{case}: time lost, x ModelCheckpoint", median[OURS] / median[KERAS], 1 / 10, LIMIT, room=20)


if __name__ == "__main__":
    main()
