"""A process with two virtual CPUs, which must be made before TensorFlow begins: all plugins under a `MirroredStrategy`.

`python mirrored.py DIRECTORY` trains with one replica and with two, uncut and cut within an epoch, and prints what came of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hookcore_adapters.keras import callbacks, fit
from hookcore_plugins import (
    Activations,
    Checkpoint,
    Console,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
)


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends a run after the third batch of its second epoch."""

    epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del logs
        if (self.epoch, batch) == (1, 2):
            raise InterruptedError


def build(strategy: Any) -> Any:
    keras.utils.set_random_seed(3)
    with strategy.scope():
        layers = [keras.layers.Dense(2, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
        model = keras.Sequential([keras.layers.Input((3,)), *layers])
        model.compile("adam", "mse", metrics=["mae"])
    return model


def plugins(directory: Path) -> list[object]:
    return [
        EarlyStopping("loss", mode="max", patience=2, restore_best_weights=True),
        ReduceLROnPlateau("loss", mode="max", patience=1, factor=0.5, min_lr=1e-5),
        Checkpoint(directory / "checkpoints", every_n_steps=3),
        CSVLog(directory / "log.csv"),
        JSONLog(directory / "log.jsonl"),
        TensorBoard(directory / "board"),
        Report(directory / "report"),
        Console(),
        Activations(directory / "activations"),
    ]


def outcome(strategy: Any, directory: Path, *, split: bool) -> dict[str, Any]:
    """Train uncut, and cut and resumed; return what a test compares. `split`: the strategy splits the data beforehand."""
    samples = np.random.default_rng(7).normal(size=(32, 3)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((samples, samples.sum(axis=1, keepdims=True))).batch(8)
    data = strategy.experimental_distribute_dataset(dataset) if split else dataset
    arguments = {"epochs": 5, "verbose": 0, "validation_data": dataset, "shuffle": False}
    uncut, resumed = build(strategy), build(strategy)
    whole = fit(uncut, data, plugins=plugins(directory / "uncut"), **arguments)
    try:
        fit(build(strategy), data, plugins=plugins(directory / "cut"), callbacks=[Cut()], **arguments)
    except InterruptedError:
        rest = fit(resumed, data, plugins=plugins(directory / "cut"), resume="auto", **arguments)
    assert rest.resumed_from is not None
    return {
        "failures": [str(failure.error) for run in (whole, rest) for failure in run.failures],
        "outcome": whole.outcome,
        "rates": whole.history.learning_rates,
        "resumed at": [rest.resumed_from.step, rest.history.epochs],
        "same history": {name: whole.history[name] for name in whole.history}
        == {name: rest.history[name] for name in rest.history},
        "same weights": all(map(np.array_equal, uncut.get_weights(), resumed.get_weights())),
        "csv": [(directory / run / "log.csv").read_text() for run in ("uncut", "cut")],
        "files": sorted(path.name for path in (directory / "uncut").iterdir()),
    }


def rates_of_drop_ins(strategy: Any) -> list[float]:
    """Return the rate that the learning-rate callbacks of Keras's names leave: a tenth by one, and half of it by the other."""
    x = np.ones((8, 3), "float32")
    model = build(strategy)
    halve = callbacks.ReduceLROnPlateau("loss", mode="max", patience=1, factor=0.5)
    scheduled = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10 if epoch == 0 else rate)
    history = model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0, callbacks=[scheduled, halve]).history
    plugin = fit(
        build(strategy), x, x[:, :1], batch_size=8, verbose=0, plugins=[LearningRateSchedule(lambda epoch: 0.25 + epoch)]
    )
    return [*history["learning_rate"], float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), plugin.learning_rate]


def main(directory: Path) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two, one = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), tf.distribute.MirroredStrategy(["CPU:0"])
    results = {
        "two": outcome(two, directory / "two", split=False),
        "two, data split beforehand": outcome(two, directory / "split", split=True),
        "one": outcome(one, directory / "one", split=False),
        "drop-ins": rates_of_drop_ins(two),
    }
    Path(directory, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
