"""A process that trains a model on two virtual CPUs with all plugins. The CPUs must be made before the backend starts.

`python replicas.py DIRECTORY` trains under TensorFlow's `MirroredStrategy` or JAX's `DataParallel`, with one replica and with
two, uninterrupted and interrupted within an epoch, and writes the results.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # JAX reads it at its start

import keras
import numpy as np

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


def samples() -> tuple[Any, Any]:
    """Four batches of eight."""
    x = np.random.default_rng(7).normal(size=(32, 3)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def outcome(strategy: Any, directory: Path, data: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    """Train without interruption, and interrupted and resumed; return what a test compares."""
    arguments: dict[str, Any] = {"epochs": 5, "verbose": 0, "validation_data": samples(), "validation_batch_size": 8} | more
    uncut, resumed = build(strategy), build(strategy)
    whole = fit(uncut, *data, plugins=plugins(directory / "uncut"), **arguments)
    try:
        fit(build(strategy), *data, plugins=plugins(directory / "cut"), callbacks=[Cut()], **arguments)
    except InterruptedError:
        rest = fit(resumed, *data, plugins=plugins(directory / "cut"), resume="auto", **arguments)
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
    """Return the final rate with both drop-in callbacks that set it: one divides it by ten, and the other by two."""
    x = np.ones((8, 3), "float32")
    model = build(strategy)
    halve = callbacks.ReduceLROnPlateau("loss", min_delta=100, patience=1, factor=0.5)
    scheduled = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10 if epoch == 0 else rate)
    history = model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=[scheduled, halve]).history
    plugin = fit(
        build(strategy), x, x[:, :1], batch_size=8, verbose=0, plugins=[LearningRateSchedule(lambda epoch: 0.25 + epoch)]
    )
    return [*history["learning_rate"], float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), plugin.learning_rate]


def on_tensorflow(directory: Path) -> dict[str, Any]:
    """`MirroredStrategy`, which may split a dataset beforehand."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two, one = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = tf.data.Dataset.from_tensor_slices(samples()).batch(8)
    split = two.experimental_distribute_dataset(dataset)
    return {
        "two": outcome(two, directory / "two", (dataset,), shuffle=False),
        "two, data split beforehand": outcome(two, directory / "split", (split,), shuffle=False),
        "one": outcome(one, directory / "one", (dataset,), shuffle=False),
        "drop-ins": rates_of_drop_ins(two),
    }


def on_jax(directory: Path) -> dict[str, Any]:
    """`DataParallel`, for shuffled arrays."""
    devices = keras.distribution.list_devices()
    two, one = (keras.distribution.DataParallel(devices=devices[:number]) for number in (2, 1))
    results = {}
    for name, strategy in (("two", two), ("one", one)):
        keras.distribution.set_distribution(strategy)  # also for `fit`
        results[name] = outcome(strategy, directory / name, samples(), batch_size=8)
    keras.distribution.set_distribution(two)
    return results | {"drop-ins": rates_of_drop_ins(two), "devices": len(devices)}


def main(directory: Path) -> None:
    results = {"tensorflow": on_tensorflow, "jax": on_jax}[keras.backend.backend()](directory)
    Path(directory, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
