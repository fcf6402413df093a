"""What a save costs the training, how long it takes until it is durable, and how much memory, beside Keras's ModelCheckpoint.

The floor is a copy in memory of the same arrays. All candidates run in one process, in shuffled rounds, each on a synced disk;
memory is measured in a process of its own. A row shows the median, and the median ratios, with quartiles, to the memory
copy and to ModelCheckpoint of the same round. The copy stands twice in the table: how far the second is from 1 is noise.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from hookcore import Engine, Run, hookimpl
from hookcore_adapters.keras.trainee import KerasTrainee
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS: Final = 4
ROOM: Final = 1.5
"""By how much a gate may be missed under `--check`: a shared machine is no laboratory."""
COPY, STALL, DURABLE, KERAS = "memory copy", "Checkpoint: stall", "Checkpoint: until durable", "ModelCheckpoint"
GATED_FROM: Final = 50
"""Megabytes of weights: below it, fixed costs decide."""


def build(megabytes: float, optimizer: str) -> Any:
    """A stack of dense layers with so many megabytes of weights, trained for one step, so that the optimizer has its state."""
    width = round((megabytes * 1e6 / 4 / LAYERS) ** 0.5)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width, use_bias=False) for _ in range(LAYERS))])
    model.compile(optimizer, "mse")
    step(model)
    return model


def step(model: Any) -> None:
    """One step of training, on one sample."""
    sample = np.zeros((1, model.input_shape[1]), "float32")
    model.train_on_batch(sample, sample)


def values(model: Any) -> list[Any]:
    """Copies of everything that a save must hold: weights and optimizer state."""
    return [np.array(variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]


class Saves:
    """A run whose `Checkpoint` saves at every step."""

    def __init__(self, model: Any, directory: Path) -> None:
        self.begun = self.durable = 0
        plugin = Checkpoint(directory, every_n_epochs=None, every_n_steps=1, keep_last=1)
        self.run = Run(trainee=KerasTrainee(model), model=model)
        self._session = Engine([plugin, self], autoload=False).start(self.run)
        self._session.train_begin()
        self._session.epoch_begin(0)

    @hookimpl
    def on_checkpoint(self) -> None:
        """Count."""
        self.durable += 1

    def begin(self) -> None:
        """What the training thread does for a save."""
        self.begun += 1
        self._session.batch_end(0, {})

    def finish(self) -> None:
        """Wait until it is durable: that is announced at the next event at which nothing is trained."""
        while self.durable < self.begun:
            time.sleep(0.0005)
            self._session.evaluate_batch_end(0, {})

    def end(self) -> None:
        """The end of training."""
        self._session.end()


def seconds(call: Callable[[], object]) -> float:
    """How long `call` takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def candidates(model: Any, saves: Saves, directory: Path) -> dict[str, Callable[[], float]]:
    """What is measured, each returning its seconds."""
    arrays = values(model)
    checkpoint: Any = keras.callbacks.ModelCheckpoint(str(directory / "model.keras"))
    checkpoint.set_model(model)

    def copy() -> float:
        return seconds(lambda: [array.copy() for array in arrays])

    def stall() -> float:
        taken = seconds(saves.begin)
        saves.finish()
        return taken

    def save() -> None:
        saves.begin()
        saves.finish()

    def step_while_writing() -> float:
        saves.begin()
        taken = seconds(lambda: step(model))
        saves.finish()
        return taken

    def step_with_snapshot() -> float:
        held = saves.run.trainee.snapshot()
        taken = seconds(lambda: step(model))
        del held
        return taken

    def plain_write() -> None:
        with (directory / "plain").open("wb") as file:
            for array in arrays:
                file.write(array)
            file.flush()
            os.fsync(file.fileno())

    return {
        COPY: copy,
        "memory copy again": copy,
        STALL: stall,
        DURABLE: lambda: seconds(save),
        KERAS: lambda: seconds(lambda: checkpoint.on_epoch_end(0, {})),
        "save_weights": lambda: seconds(lambda: model.save_weights(directory / "model.weights.h5")),
        "one plain file, synced": lambda: seconds(plain_write),
        "training step": lambda: seconds(lambda: step(model)),
        "training step, snapshot held": step_with_snapshot,
        "training step, while writing": step_while_writing,
    }


def measure(megabytes: float, optimizer: str, rounds: int) -> dict[str, list[float]]:
    """The seconds of each candidate, in each round."""
    model = build(megabytes, optimizer)
    with tempfile.TemporaryDirectory() as name:
        saves = Saves(model, Path(name) / "checkpoints")
        calls = candidates(model, saves, Path(name))
        times: dict[str, list[float]] = {way: [] for way in calls}
        for _ in range(1 + rounds):
            for way in random.sample(list(calls), len(calls)):
                gc.collect()
                os.sync()
                times[way].append(calls[way]())
        saves.end()
    return {way: own[1:] for way, own in times.items()}  # the first round warms up


def extra_memory(megabytes: float, optimizer: str, candidate: str) -> float:
    """How much more memory a save and the training step after it take, at their peak, than a step alone, in copies."""
    model = build(megabytes, optimizer)
    size = sum(int(value.nbytes) for value in values(model))
    with tempfile.TemporaryDirectory() as name:
        checkpoint = keras.callbacks.ModelCheckpoint(f"{name}/model.keras")
        checkpoint.set_model(model)
        saves = Saves(model, Path(name) / "checkpoints")

        def save() -> None:
            if candidate == KERAS:
                checkpoint.on_epoch_end(0, {})
            else:
                saves.begin()
            step(model)
            saves.finish()

        alone = peak(lambda: step(model))
        return (peak(save) - alone) / size


def peak(call: Callable[[], object]) -> int:
    """The most memory in bytes that this process has while `call` runs."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    call()
    status = Path("/proc/self/status").read_text(encoding="ascii").split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def in_its_own_process(megabytes: float, optimizer: str, candidate: str) -> float:
    """`extra_memory` where nothing else has used memory before."""
    command = [sys.executable, __file__, "--memory-of", candidate, "--sizes", str(megabytes), "--optimizers", optimizer]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this very file


@attrs.frozen
class Row:
    """A line of the table. Ratios are low quartile, median and high quartile."""

    megabytes: float
    optimizer: str
    way: str
    seconds: float
    to_copy: list[float]
    to_keras: list[float]


def rows_of(megabytes: float, optimizer: str, times: dict[str, list[float]]) -> list[Row]:
    """The table's lines for one size."""

    def ratios(own: list[float], to: str) -> list[float]:
        return statistics.quantiles([mine / other for mine, other in zip(own, times[to], strict=True)], n=4)

    return [
        Row(megabytes, optimizer, way, statistics.median(own), ratios(own, COPY), ratios(own, KERAS))
        for way, own in times.items()
    ]


def gates(rows: list[Row], memory: float) -> dict[str, tuple[float, float]]:
    """What was measured, and what it must not exceed."""
    by_way = {row.way: row for row in rows}
    return {
        "stall, in memory copies": (by_way[STALL].to_copy[1], 1.5),
        "stall, in ModelCheckpoint's time": (by_way[STALL].to_keras[1], 1 / 8),
        "until durable, in ModelCheckpoint's time": (by_way[DURABLE].to_keras[1], 1.3),
        "peak memory, in copies": (memory, 1.0),
    }


@click.command()
@click.option("--sizes", default="1,50", show_default=True, help="Megabytes of weights, separated by commas.")
@click.option("--optimizers", default="sgd,adam", show_default=True, help="Adam's state is twice the weights; SGD has none.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(min=2))
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results there too.")
@click.option("--check", is_flag=True, help=f"Exit with status 1 where a gate is missed by more than {ROOM} times.")
@click.option("--memory-of", hidden=True, help="Print the extra memory of one candidate, and nothing else.")
@click.pass_context
def main(
    ctx: click.Context, sizes: str, optimizers: str, rounds: int, path: Path | None, *, check: bool, memory_of: str | None
) -> None:
    """Print what a save costs, beside Keras's ModelCheckpoint and a copy in memory."""
    cases = [(float(size), optimizer) for size in sizes.split(",") for optimizer in optimizers.split(",")]
    if memory_of:
        click.echo(extra_memory(*cases[0], memory_of))
        return
    printed: Any = Console()
    results: list[dict[str, Any]] = []
    missed = False
    for megabytes, optimizer in cases:
        rows = rows_of(megabytes, optimizer, measure(megabytes, optimizer, rounds))
        memory = {candidate: in_its_own_process(megabytes, optimizer, candidate) for candidate in ("Checkpoint", KERAS)}
        table = Table("way", "ms", "x memory copy", "x ModelCheckpoint")
        table.title = f"{megabytes:g} MB of weights, {optimizer}"
        for row in rows:
            table.add_row(row.way, f"{row.seconds * 1000:.1f}", _shown(row.to_copy), _shown(row.to_keras))
        printed.print(table)
        printed.print("peak memory beyond training, in copies:", ", ".join(f"{of} {used:.2f}" for of, used in memory.items()))
        gated = gates(rows, memory["Checkpoint"]) if megabytes >= GATED_FROM else {}
        for gate, (found, limit) in gated.items():
            printed.print(f"{'met' if found <= limit else 'MISSED'}: {gate}: {found:.3f}, at most {limit:.3f}")
            missed |= found > limit * ROOM
        case = {"megabytes": megabytes, "optimizer": optimizer, "extra_memory": memory}
        results.append(case | {"rows": [attrs.asdict(row) for row in rows], "gates": gated})
    if path:
        path.write_text(json.dumps(results, indent=1))
    ctx.exit(int(check and missed))


def _shown(ratio: list[float]) -> str:
    low, middle, high = ratio
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
