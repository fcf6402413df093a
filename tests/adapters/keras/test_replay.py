"""A replay of a recorded Keras run stops at the same epoch as a real `fit` with the same setting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from hookcore_adapters.keras import fit
from hookcore_adapters.replay import replay
from hookcore_plugins import CSVLog, JSONLog, ReduceLROnPlateau, Report
from hookcore_plugins.report.recorded import read_run, read_runs
from tests.adapters.replaying import EPOCHS, check_same, settings

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Run


class Training:
    """A small model whose loss oscillates, and trains the same each time."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(7)
        self.model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
        self.model.compile(keras.optimizers.SGD(0.3, momentum=0.9), "mse")
        self.data = np.random.default_rng(7).normal(size=(2, 12, 3)).astype("float32")
        self.weights = self.model.get_weights()
        self.zeros = [np.array(variable) for variable in self.model.optimizer.variables]

    def __call__(self, plugins: list[object], callbacks: list[Any] | None = None) -> Run:
        self.model.set_weights(self.weights)
        for variable, value in zip(self.model.optimizer.variables, self.zeros, strict=False):
            variable.assign(np.zeros_like(value) if value.ndim else value)
        for variable in self.model.optimizer.variables[len(self.zeros) :]:  # the first run has made them
            variable.assign(np.zeros_like(np.array(variable)))
        train, validation = self.data
        return fit(
            self.model,
            train[:, :2],
            train[:, 2:],
            batch_size=12,
            validation_data=(validation[:, :2], validation[:, 2:]),
            validation_batch_size=12,
            epochs=EPOCHS,
            shuffle=False,
            verbose=0,
            plugins=plugins,
            callbacks=callbacks,
        )


def test_the_replay_of_a_recorded_run_stops_like_a_real_one(tmp_path: Path) -> None:
    """With 40 random settings of early stopping, replays of each log, ours and Keras's, stop like real runs."""
    training = Training()
    plugins = [CSVLog(tmp_path / "a.csv"), JSONLog(tmp_path / "a.jsonl"), Report(tmp_path, summary=False)]
    history = keras.callbacks.History()
    real = training(plugins, [keras.callbacks.CSVLogger(tmp_path / "keras.csv"), history])
    (tmp_path / "history.json").write_text(json.dumps(history.history))
    recorded = [read_run(path) for path in sorted(tmp_path.iterdir())]
    assert [one.format for one in recorded] == ["CSVLog", "JSONLog", "Keras History", "Keras CSVLogger", "run.json"]
    assert [one.name for one in read_runs([tmp_path])] == [str(tmp_path)]
    values = real.history["val_loss"]
    stopped = [check_same(recorded, setting, training) for setting in settings(40, values)]
    assert 5 < sum(stopped) < 40


def test_a_replay_asks_for_the_same_first_change_of_the_rate_as_a_real_run(tmp_path: Path) -> None:
    """The first change of the rate in a replay has the same rate and reason as in a real run; later ones are unknown."""
    training = Training()
    training([CSVLog(tmp_path / "a.csv")])
    first = training([ReduceLROnPlateau(patience=1, factor=0.5)]).decisions[0]
    again = replay(tmp_path / "a.csv", [ReduceLROnPlateau(patience=1, factor=0.5)])
    assert (again.decisions[0].message, again.decisions[0].epoch) == (first.message, first.epoch)
    assert again.history["val_loss"] == read_run(tmp_path / "a.csv").history["val_loss"]
