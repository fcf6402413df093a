"""Metrics are converted when they are read, are the same for plugins and callbacks, and have a direction."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from keras.src.utils import python_utils

from hookcore import (
    MetricError,
    Metrics,
    Run,
    hookimpl,
    store,
)
from hookcore import metrics as core_metrics
from hookcore.testing import RecordingPlugin
from hookcore_adapters.keras import from_keras
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Train = Callable[..., Run]
    Watch = Callable[[], Any]


class NoReader:
    """Implements the batch hooks without reading metrics."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def on_batch_end(self) -> None:
        self.calls += 1

    @hookimpl
    def on_evaluate_batch_end(self, metrics: Mapping[str, float]) -> None:
        assert isinstance(metrics, Metrics)
        self.calls += 1


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by one for each conversion by Keras or hookcore."""
    counted: list[str] = []
    for module, name in ((python_utils, "pythonify_logs"), (core_metrics, "_flatten")):
        original = getattr(module, name)

        def counting(*args: Any, name: str = name, original: Callable[..., Any] = original) -> Any:
            counted.append(name)
            return original(*args)

        monkeypatch.setattr(module, name, counting)
    return counted


def test_no_batch_is_converted_if_no_plugin_reads_it(train_by_fit: Train, model: Any, data: Any, conversions: list[str]) -> None:
    """If no plugin reads metrics of batches, the number of conversions does not depend on the number of batches."""
    counts = []
    for batch_size in (12, 4):
        plugin = NoReader()
        before = len(conversions)
        train_by_fit(model, *data, validation_data=data, batch_size=batch_size, plugins=[plugin])
        counts.append(len(conversions) - before)
        assert plugin.calls == 2 * 24 // batch_size
    assert counts[0] == counts[1]
    assert counts[0] > 0, "the epoch's metrics are converted for the histories"


def test_batches_are_converted_for_callbacks_that_are_there(
    train_by_fit: Train, model: Any, data: Any, conversions: list[str], watch: Watch
) -> None:
    """A callback beside plugins gets converted metrics for every batch."""
    counts = []
    for batch_size in (12, 4):
        before = len(conversions)
        train_by_fit(model, *data, batch_size=batch_size, callbacks=[watch()])
        counts.append(len(conversions) - before)
    assert counts[1] - counts[0] == 2 * 4  # two hooks for each of 4 additional batches


def test_a_plugin_reads_the_floats_that_callbacks_get(train: Train, model: Any, data: Any, watch: Watch) -> None:
    """Plugins read the same Python floats at the end of a batch, an evaluation or an epoch as Keras's callbacks."""
    recording, seen = RecordingPlugin(), watch()
    train(model, *data, validation_data=data, batch_size=12, epochs=2, plugins=[recording], callbacks=[seen])

    def metrics(hook: str) -> list[dict[str, float]]:
        return [event[-1] for event in recording.events if event[0] == hook]

    assert metrics("on_batch_end") == seen.batches
    assert metrics("on_evaluate_end") == seen.evaluations
    assert metrics("on_epoch_end") == seen.epochs
    everything = [*metrics("on_batch_end"), *metrics("on_epoch_end"), *seen.batches, *seen.epochs]
    assert {type(value) for metrics_or_logs in everything for value in metrics_or_logs.values()} == {float}
    assert len(seen.batches) == 4


def test_history_is_what_it_is_without_plugins(train: Train, model: Any, make: Any, data: Any) -> None:
    """`model.history` and a user's `History` are filled as in a plain `model.fit`."""
    own = keras.callbacks.History()
    train(model, *data, validation_data=data, batch_size=12, epochs=2, shuffle=False, callbacks=[own])
    plain = make(run_eagerly=False).fit(*data, validation_data=data, batch_size=12, epochs=2, shuffle=False, verbose=0)
    assert own.epoch == plain.epoch == [0, 1]
    assert own.history == plain.history
    assert model.history is own


def test_a_history_of_ones_own_class_gets_its_batches(train: Train, model: Any, data: Any) -> None:
    """A subclass of `History` with batch hooks is called like any callback."""
    batches: list[int] = []

    class BatchHistory(keras.callbacks.History):  # type: ignore[misc]  # Keras ships no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            assert isinstance(logs["loss"], float)
            batches.append(batch)

    train(model, *data, batch_size=12, callbacks=[BatchHistory()])
    assert batches == [0, 1]


def several_outputs(**compile_arguments: Any) -> Any:
    """Return a model with two inputs and two outputs."""
    first, second = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    both = keras.layers.Concatenate()([first, second])
    outputs = [keras.layers.Dense(1, activation="sigmoid", name=name)(both) for name in ("out1", "out2")]
    model = keras.Model({"one": first, "two": second}, outputs)
    model.compile("sgd", loss=["binary_crossentropy", "mse"], run_eagerly=True, **compile_arguments)
    return model


class Subclassed(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model that is built at its first batch, with its outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Dense(1, activation="sigmoid")
        self.second = keras.layers.Dense(1, activation="sigmoid")

    def call(self, x: Any) -> dict[str, Any]:
        return {"out1": self.first(x), "out2": self.second(x)}


@pytest.mark.parametrize("monitor", ["val_loss", "val_out1_loss", "val_out1_acc", "val_out2_pr"])
def test_several_inputs_and_outputs_can_be_monitored(train: Train, data: Any, monitor: str) -> None:
    """Losses and metrics of each output can be monitored by Keras's names, in the directions that Keras declares."""
    model = several_outputs(metrics=[["acc"], [keras.metrics.AUC(name="pr", curve="PR")]])
    x, y = data
    stopping = EarlyStopping(monitor, patience=5)
    run = train(model, {"one": x, "two": x}, [y, y], validation_split=0.25, batch_size=6, epochs=2, plugins=[stopping])
    values = run.history[monitor]
    assert stopping.best == (min(values) if monitor.endswith("loss") else max(values))
    assert run.steps_per_epoch == 3


@pytest.mark.parametrize("monitor", ["val_loss", "val_out2_loss", "val_out1_acc"])
def test_a_subclassed_model_is_monitored_before_it_is_built(train: Train, data: Any, monitor: str) -> None:
    """The outputs of an unbuilt model are known from the arguments of `compile`."""
    model = Subclassed()
    losses = {"out1": "binary_crossentropy", "out2": "mse"}
    model.compile("sgd", loss=losses, metrics={"out1": ["acc"]}, run_eagerly=True)
    x, y = data
    stopping = EarlyStopping(monitor, patience=5)
    run = train(model, x, {"out1": y, "out2": y}, validation_data=(x, {"out1": y, "out2": y}), epochs=2, plugins=[stopping])
    assert stopping.best == (min if monitor.endswith("loss") else max)(run.history[monitor])


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        (lambda: keras.metrics.AUC(name="pr", curve="PR"), max),
        (lambda: keras.metrics.MeanAbsoluteError(name="pr"), min),
    ],
)
def test_a_custom_name_is_monitored_in_its_metrics_direction(
    train: Train, make: Any, data: Any, metric: Callable[[], Any], better: Callable[[list[float]], float]
) -> None:
    """A metric with a custom name has the direction of its class, also in the model's first run."""
    stopping = EarlyStopping("val_pr", patience=5)
    x, y = data[0], np.roll(data[1], 1)  # hard to learn, so that the metric moves
    run = train(make(metrics=[metric()]), x, y, validation_data=(x, y), batch_size=2, epochs=3, plugins=[stopping])
    assert len(set(run.history["val_pr"])) > 1, "the values must differ for this test to mean anything"
    assert stopping.best == better(run.history["val_pr"])


def test_an_unknown_direction_is_refused_before_the_first_batch(train: Train, model: Any, data: Any, watch: Watch) -> None:
    """Monitoring a metric of unknown direction is a `MetricError` that asks for `mode`, before training."""
    seen = watch()
    with pytest.raises(MetricError, match=r"'val_fairness'.*mode='min' or mode='max'"):
        train(model, *data, plugins=[EarlyStopping("val_fairness")], callbacks=[seen])
    assert seen.batches == []


def test_an_absent_metric_is_refused_at_the_end_of_the_first_epoch(train: Train, model: Any, data: Any) -> None:
    """A missing metric is a `MetricError` at the end of the first epoch, with the existing names and the nearest."""
    with pytest.raises(MetricError, match=r"there are: acc, loss\. Did you mean 'acc'\?"):
        train(model, *data, epochs=3, plugins=[EarlyStopping("accc", mode="max")])
    assert train.run.progress.epoch == 0  # type: ignore[attr-defined]  # Train is a Form


class F1(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Adds to the logs a metric that is best in the first epoch, and a value that is not a number."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs |= {"val_f1": np.float32(0.5 if epoch == 0 else 0.25), "remark": "ours"}


HOW: dict[str, dict[str, list[Any]]] = {
    "beside": {"callbacks": [F1()], "plugins": []},
    "hosted": {"callbacks": [], "plugins": [from_keras(F1())]},
}


@pytest.mark.parametrize("how", HOW)
def test_a_metric_that_a_callback_adds_is_a_metric_of_the_run(
    train: Train, model: Any, data: Any, tmp_path: Path, how: str
) -> None:
    """As in Keras, a metric that a callback adds is found by early stopping, checkpoints, logs and the history."""
    checkpoint = Checkpoint(tmp_path / "best", "val_f1", "max", save_best_only=True)
    plugins = [EarlyStopping("val_f1", mode="max", patience=2), checkpoint, CSVLog(tmp_path / "log.csv"), *HOW[how]["plugins"]]
    run = train(model, *data, batch_size=12, epochs=5, plugins=plugins, callbacks=HOW[how]["callbacks"])
    assert run.history["val_f1"] == [0.5, 0.25, 0.25]
    assert [(vote.metric, vote.best, vote.best_epoch, vote.best_step) for vote in run.stop_reasons] == [("val_f1", 0.5, 0, 2)]
    assert (checkpoint.best().step, checkpoint.best().value) == (2, 0.5)
    with (tmp_path / "log.csv").open() as file:
        assert [(row["loss"] != "", row["val_f1"], "remark" in row) for row in csv.DictReader(file)] == [
            (True, "0.5", False),
            (True, "0.25", False),
            (True, "0.25", False),
        ]


def test_what_a_callback_does_to_the_model_is_in_the_checkpoint(train: Train, model: Any, data: Any, tmp_path: Path) -> None:
    """Callbacks are called before plugins, so weights that they set at the end of an epoch are saved."""
    zeros = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: model.set_weights([0 * w for w in model.get_weights()]))
    train(model, *data, batch_size=12, epochs=1, plugins=[Checkpoint(tmp_path)], callbacks=[zeros])
    saved = keras.models.load_model(store.newest(tmp_path).path / "model.keras")
    assert not any(np.any(weights) for weights in saved.get_weights())


def test_what_is_no_number_is_ignored_in_the_logs(train: Train, model: Any, data: Any) -> None:
    """As in Keras, a callback may add any value; plugins get the numbers, and arrays of numbers by element."""

    class Odd(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_epoch_end(self, _: int, logs: Any = None) -> None:
            logs |= {"text": np.str_("x"), "words": np.array(["a"]), "objects": np.array([object()]), "nested": {"a": "x"}}
            logs |= {"when": np.datetime64("2020-01-01"), 5: 1.0, "none": None}
            logs |= {"pair": np.array([1.0, 2.0]), "count": np.int64(3)}

    run = train(model, *data, batch_size=24, epochs=1, callbacks=[Odd()])
    assert {name: run.history[name] for name in run.history if name not in {"acc", "loss"}} == {
        "pair_0": [1.0],
        "pair_1": [2.0],
        "count": [3.0],
    }


def test_the_learning_rate_of_an_epoch_is_that_before_a_callback_lowers_it(
    train_by_fit: Train, model: Any, data: Any, tmp_path: Path
) -> None:
    """If Keras's ReduceLROnPlateau lowers the rate before plugins are called, logs still have the rate of the epoch."""
    lower = keras.callbacks.ReduceLROnPlateau("loss", mode="max", min_delta=0, factor=0.5, patience=1, cooldown=0)
    run = train_by_fit(model, *data, batch_size=24, epochs=4, plugins=[CSVLog(tmp_path / "log.csv")], callbacks=[lower])
    assert run.history.learning_rates == run.history["learning_rate"]  # Keras's callback adds it
    assert len(set(run.history.learning_rates)) > 1
    with (tmp_path / "log.csv").open() as file:
        assert [float(row["learning_rate"]) for row in csv.DictReader(file)] == run.history.learning_rates


def test_a_callback_sees_the_model_that_is_resumed_and_the_one_that_is_restored(
    train_by_fit: Train, model: Any, data: Any, tmp_path: Path
) -> None:
    """Callbacks get on_train_begin after a resumed run is restored, and on_train_end after the best weights are restored."""
    seen: dict[str, Any] = {}
    callback = keras.callbacks.LambdaCallback(
        on_train_begin=lambda _: seen.update(begin=int(model.optimizer.iterations)),
        on_train_end=lambda _: seen.update(end=model.get_weights()),
    )
    plugins = [EarlyStopping("loss", mode="max", restore_best_weights=True), Checkpoint(tmp_path)]
    train_by_fit(model, *data, batch_size=24, epochs=2, plugins=plugins, callbacks=[callback])
    assert seen["begin"] == 0
    assert all(np.array_equal(one, other) for one, other in zip(seen["end"], model.get_weights(), strict=True))
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    train_by_fit(model, *data, batch_size=24, epochs=3, plugins=plugins, callbacks=[callback], resume="auto")
    assert seen["begin"] == 2
