"""Measure what `on_epoch_end` costs with the four core plugins, beside four equivalent Keras callbacks, on TensorFlow.

They stop early, reduce the learning rate, save checkpoints of the best epoch, and write a CSV log. A real model is trained for
one step in each epoch. At the epoch's end, Keras's own list and hookcore's, which are what `fit` would call, get the model's
metrics and those of a validation: the loss improves, but the error, which ranks the checkpoints, does not. So each candidate
writes a row of its file, and none stops, reduces the rate or, after the first epoch, saves; this is checked. Only
`on_epoch_end` is timed. The candidate changes every 10 epochs, and the first 2 after a change do not count; a figure is the
median epoch of such a block.

Both CSV logs have the metrics and the learning rate, which Keras's ReduceLROnPlateau adds to the metrics; `CSVLog` has the step
too. `callbacks=[]` is Keras's list with only its History, which is in every list. The four callbacks are in the table twice:
how far the second is from 1 is noise.

The second table measures the engine alone, warm and without a framework: what an epoch's end costs with its row of the history,
and what each of its two hooks adds if four plugins count there.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import keras
import numpy as np
import tensorflow as tf

from hookcore import Engine, Metrics, Run, hookimpl
from hookcore_adapters.keras.callback_list import LastCallback
from hookcore_adapters.keras.events import KerasEvents
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, ReduceLROnPlateau
from side_by_side import Gate, Table, benchmark, engine_of, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPOCHS, COLD = 10, 2
ENDS: Final = 1_000
"""The number of ends of epochs in a round of the engine alone."""
NEVER: Final = 10**9
"""A patience, in epochs, that is never used up."""
LIMIT: Final = (
    "After a training step the processor's caches are cold, so that what takes 1 us in a loop takes 18 here: reading the "
    "learning rate from its variable is about a quarter of the time, and opening and closing the file, which is not kept open so "
    "that nothing is lost, a fifth."
)
FLOOR, KERAS, OURS = "callbacks=[]", "4 Keras callbacks", "fit, 4 plugins"


@attrs.define(eq=False)
class Way:
    """A list that `fit` would call, the epochs that it has seen, and where its files are: a CSV log, and checkpoints."""

    told: Any
    model: Any
    iterator: Any
    directory: Path
    epoch: int = 0

    def train(self) -> float:
        """Train one epoch; return the seconds that `on_epoch_end` takes."""
        self.told.on_epoch_begin(self.epoch)
        self.told.on_train_batch_begin(0)
        logs = self.model.train_function(self.iterator)
        self.told.on_train_batch_end(0, logs)
        logs = dict(self.model.get_metrics_result())
        logs |= {"val_loss": 1 / (1 + self.epoch), "val_mae": 1.0 + self.epoch}
        began = time.perf_counter()
        self.told.on_epoch_end(self.epoch, logs)
        taken = time.perf_counter() - began
        self.epoch += 1
        return taken

    def block(self) -> float:
        """Return the seconds of the median epoch of a block."""
        return statistics.median([self.train() for _ in range(EPOCHS)][COLD:])


def callbacks(directory: Path) -> list[Any]:
    """Return Keras's own callbacks."""
    of = keras.callbacks
    return [
        of.EarlyStopping("val_loss", patience=NEVER),
        of.ReduceLROnPlateau("val_loss", patience=NEVER),
        of.ModelCheckpoint(directory / "best.keras", monitor="val_mae", mode="min", save_best_only=True),
        of.CSVLogger(directory / "log.csv"),
    ]


def plugins(directory: Path) -> list[Any]:
    """Return hookcore's plugins for the same jobs."""
    return [
        EarlyStopping("val_loss", patience=NEVER),
        ReduceLROnPlateau("val_loss", patience=NEVER),
        Checkpoint(directory / "best", "val_mae", "min", save_best_only=True),
        CSVLog(directory / "log.csv"),
    ]


def ways(model: Any, directory: Path) -> dict[str, Way]:
    """Return all candidates, each after its first epoch, which is saved, and a second one, in which the save is announced."""
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors((np.ones((32, 8), "float32"), np.ones((32, 1), "float32"))).repeat())
    about = {"add_history": True, "model": model, "verbose": 0, "epochs": NEVER, "steps": 1}
    made = {}
    for number, name in enumerate((FLOOR, KERAS, f"{KERAS} again", OURS)):
        own = directory / str(number)
        own.mkdir()
        if name == OURS:
            engine = Engine(plugins(own), autoload=False)
            told: Any = keras.callbacks.CallbackList([LastCallback(KerasEvents(engine))], **about)
        else:
            told = keras.callbacks.CallbackList([] if name == FLOOR else callbacks(own), **about)
        way = made[name] = Way(told, model, iterator, own)
        told.on_train_begin()
        way.train()
        if name == OURS:
            engine["checkpoint"]._writes.wait()  # noqa: SLF001 - the save itself is not the question
        way.train()
    return made


def check(way: Way, saved: float, rate: float) -> None:
    """Raise `AssertionError` if a candidate did not write each row, or saved, stopped or reduced the rate."""
    with (way.directory / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["val_loss"]) for row in rows]
    columns = {"epoch", "learning_rate", "loss", "mae", "val_loss", "val_mae"}
    assert columns <= rows[-1].keys() <= columns | {"step"}, f"columns {set(rows[-1])}"  # noqa: S101 - the check
    assert losses == [1 / (1 + epoch) for epoch in range(way.epoch)], f"{len(losses)} rows"  # noqa: S101 - the check
    assert newest(way.directory) == saved, "saved again"  # noqa: S101 - the check
    assert not way.model.stop_training, "stopped"  # noqa: S101 - the check
    assert float(way.model.optimizer.learning_rate) == rate, "reduced"  # noqa: S101 - the check


def newest(directory: Path) -> float:
    """Return when the newest checkpoint in the directory was written."""
    return max(path.stat().st_mtime for path in directory.rglob("*") if path.is_file() and path.name.endswith(".keras"))


@benchmark
@click.option("--rounds", default=41, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what the end of an epoch costs."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    with tempfile.TemporaryDirectory() as directory:
        candidates = ways(model, Path(directory))
        rate = float(model.optimizer.learning_rate)
        saved = {name: newest(way.directory) for name, way in candidates.items() if name != FLOOR}
        figures = measure({name: way.block for name, way in candidates.items()}, rounds)
        for name, when in saved.items():
            check(candidates[name], when, rate)
        candidates[OURS].told.on_train_end()
    found = Table("on_epoch_end, without a save", "us", figures, floor=FLOOR, ours=OURS)
    yield found
    yield Gate(f"{OURS}, x {KERAS}", found.ratio(OURS, KERAS)[1], 0.35, LIMIT)
    yield from hooks(rounds)


def hooks(rounds: int) -> Iterator[Table | Gate]:
    """Measure what `on_metrics` costs beside `on_epoch_end`."""
    kinds: dict[str, list[Any]] = {
        "no plugin": [],
        "4 in on_epoch_end": [AtEpochEnd() for _ in range(4)],
        "4 in on_metrics": [AtMetrics() for _ in range(4)],
    }
    figures = measure({name: _ends(counting) for name, counting in kinds.items()}, rounds)
    for counting in kinds.values():
        assert {plugin.n for plugin in counting} <= {(1 + rounds) * ENDS}, "an event was lost"  # noqa: S101 - the check
    found = Table("the end of an epoch in the engine", "us", figures, floor="no plugin")
    yield found
    of_metrics, of_epoch_end = (found.ratio(f"4 in {hook}", "no plugin")[1] for hook in ("on_metrics", "on_epoch_end"))
    yield Gate("4 plugins in on_metrics, x 4 in on_epoch_end", of_metrics / of_epoch_end, 1.15)


def _ends(counting: list[Any]) -> Callable[[], float]:
    """Return a function that returns the seconds of an epoch's end with these plugins, in a new run each time."""
    engine = engine_of(counting)

    def ends() -> float:
        session = engine.start(Run())
        session.train_begin()
        began = time.perf_counter()
        for epoch in range(ENDS):
            session.epoch_end(epoch, Metrics({"loss": 0.5, "accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5}))
        taken = time.perf_counter() - began
        session.end()
        return taken / ENDS

    return ends


@attrs.define(eq=False)
class AtEpochEnd:
    """Counts the ends of epochs."""

    n: int = 0

    @hookimpl
    def on_epoch_end(self) -> None:
        """Count."""
        self.n += 1


@attrs.define(eq=False)
class AtMetrics:
    """Counts the observations."""

    n: int = 0

    @hookimpl
    def on_metrics(self) -> None:
        """Count."""
        self.n += 1


if __name__ == "__main__":
    main()
