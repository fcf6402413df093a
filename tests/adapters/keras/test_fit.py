"""The order and numbers of events in `fit` and under `KerasAdapter`, and the arguments of `fit`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import (
    CapabilityError,
    Outcome,
    ParameterError,
    RegistrationError,
    Run,
    hookimpl,
)
from hookcore.testing import RecordingPlugin
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_plugins import EarlyStopping, LearningRateSchedule, ReduceLROnPlateau
from tests.adapters.keras.backends import TF_DATA, only_on, tf

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    Train = Callable[..., Run]
    Watch = Callable[[], Any]


def without_metrics(recording: RecordingPlugin) -> list[tuple[Any, ...]]:
    """Return the events with their numbers, without metrics."""
    return [tuple(part for part in event if not isinstance(part, dict)) for event in recording.events]


def test_events_come_in_order_with_zero_based_numbers(train: Train, model: Any, data: Any) -> None:
    """A fit calls every hook in the documented order, with validation between the batches and the end of the epoch."""
    recording = RecordingPlugin()
    run = train(model, *data, validation_split=0.25, batch_size=6, epochs=2, plugins=[recording])
    batches = [(hook, batch) for batch in range(3) for hook in ("on_batch_begin", "on_batch_end")]
    validation = [("on_evaluate_begin",), ("on_evaluate_batch_begin", 0), ("on_evaluate_batch_end", 0), ("on_evaluate_end",)]
    epochs: list[Any] = []
    for epoch in (0, 1):
        epochs += [("on_epoch_begin", epoch), *batches, *validation, ("on_epoch_end", epoch), ("on_metrics",)]
    assert without_metrics(recording) == [("on_train_begin",), *epochs, ("on_train_end", Outcome.COMPLETED)]
    assert (run.epochs, run.steps_per_epoch, run.outcome) == (2, 3, Outcome.COMPLETED)
    assert (run.progress.epoch, run.progress.batch, run.progress.step) == (1, 2, 6)


def test_step_counts_the_batch_that_has_just_ended(train: Train, model: Any, data: Any, calls: Any) -> None:
    """`progress.step` is the number of completed updates: a batch is counted at its end, not at its beginning."""
    began: list[int] = []
    ended: list[int] = []
    plugin = calls(
        on_batch_begin=lambda run: began.append(run.progress.step), on_batch_end=lambda run: ended.append(run.progress.step)
    )
    train(model, *data, batch_size=6, epochs=2, plugins=[plugin])
    assert began == [0, 1, 2, 3, 4, 5, 6, 7]
    assert ended == [1, 2, 3, 4, 5, 6, 7, 8]


def test_epoch_metrics_hold_training_and_validation_and_history_holds_them_too(train: Train, model: Any, data: Any) -> None:
    """`on_epoch_end` and `on_metrics` get `val_loss` too, `on_evaluate_end` plain names, and `run.history` equals Keras's."""
    recording = RecordingPlugin()
    run = train(model, *data, validation_split=0.25, batch_size=6, epochs=2, plugins=[recording])
    epochs = [event[2] for event in recording.events if event[0] == "on_epoch_end"]
    evaluations = [event[1] for event in recording.events if event[0] == "on_evaluate_end"]
    assert [event[1] for event in recording.events if event[0] == "on_metrics"] == epochs
    assert set(epochs[0]) == {"loss", "acc", "val_loss", "val_acc"}
    assert [{f"val_{name}": value for name, value in metrics.items()} for metrics in evaluations] == [
        {name: value for name, value in metrics.items() if name.startswith("val_")} for metrics in epochs
    ]
    assert {name: run.history[name] for name in run.history} == model.history.history
    assert [metrics["val_loss"] for metrics in epochs] == run.history["val_loss"]


def test_plugins_are_called_after_the_callbacks(train_by_fit: Train, model: Any, data: Any, calls: Any) -> None:
    """At each event of `fit` callbacks are called before plugins, which save their changes; at the end they are called last."""
    order: list[str] = []
    hooks = {"on_train_begin": 0, "on_epoch_begin": 1, "on_epoch_end": 1, "on_train_end": 0}
    callback = keras.callbacks.LambdaCallback(
        **{hook: lambda *_, hook=hook: order.append(f"callback {hook}") for hook in hooks},
        on_train_batch_begin=lambda *_, **__: order.append("callback on_batch_begin"),
        on_train_batch_end=lambda *_, **__: order.append("callback on_batch_end"),
        on_test_begin=lambda *_: order.append("callback on_evaluate_begin"),
        on_test_batch_end=lambda *_, **__: order.append("callback on_evaluate_batch_end"),
        on_test_end=lambda *_: order.append("callback on_evaluate_end"),
    )
    every = [*hooks, "on_batch_begin", "on_batch_end", "on_evaluate_begin", "on_evaluate_batch_end", "on_evaluate_end"]
    plugin = calls(**{hook: lambda _, hook=hook: order.append(f"plugin {hook}") for hook in every})
    train_by_fit(model, *data, validation_data=data, batch_size=24, plugins=[plugin], callbacks=[callback])
    assert order[-2:] == ["plugin on_train_end", "callback on_train_end"]
    order[-2:] = reversed(order[-2:])
    assert order[::2] == [call.replace("plugin", "callback") for call in order[1::2]]
    assert len(order) == 2 * len(every)


@pytest.mark.parametrize(("initial_epoch", "epochs"), [(0, 0), (3, 3), (5, 2)])
def test_zero_epochs_begin_and_end_a_run(train: Train, model: Any, data: Any, initial_epoch: int, epochs: int) -> None:
    """If there is no epoch to train, the run begins, completes, and has an empty history."""
    recording = RecordingPlugin()
    run = train(model, *data, epochs=epochs, initial_epoch=initial_epoch, plugins=[recording])
    assert recording.events == [("on_train_begin",), ("on_train_end", Outcome.COMPLETED)]
    assert run.history.epochs == []


def test_initial_epoch_numbers_the_epochs(train: Train, model: Any, data: Any) -> None:
    """With `initial_epoch`, epochs have Keras's numbers, and steps count the updates of this run."""
    run = train(model, *data, batch_size=24, initial_epoch=2, epochs=4)
    assert run.history.epochs == [2, 3]
    assert (run.progress.epoch, run.progress.step) == (3, 2)


@pytest.mark.parametrize(("frequency", "validated"), [(2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_frequency_decides_which_epochs_have_validation(
    train: Train, model: Any, data: Any, frequency: int | Collection[int], validated: list[int]
) -> None:
    """Validation events and metrics come in the epochs of `validation_freq`, and patience counts only those."""
    evaluated: list[int] = []

    class Evaluated:
        @hookimpl
        def on_evaluate_end(self, run: Run) -> None:
            evaluated.append(run.progress.epoch)

    run = train(
        model,
        *data,
        validation_data=data,
        validation_freq=frequency,
        batch_size=24,
        epochs=4,
        plugins=[Evaluated(), EarlyStopping("val_loss", patience=2)],
    )
    assert evaluated == validated
    assert [epoch for epoch, value in enumerate(run.history["val_loss"]) if not math.isnan(value)] == validated
    assert [epoch for epoch in range(4) if run.validates(epoch)] == validated
    assert run.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [({}, True), ({"verbose": "auto"}, True), ({"verbose": 1}, True), ({"verbose": 2}, True), ({"verbose": 0}, False)],
)
def test_the_progress_bar_is_keras_own(
    capsys: pytest.CaptureFixture[str], model: Any, data: Any, arguments: dict[str, Any], *, shown: bool
) -> None:
    """`verbose` has Keras's meaning, and by default the bar is shown."""
    fit(model, *data, batch_size=6, epochs=2, **arguments)
    assert ("Epoch 1/2" in capsys.readouterr().out) is shown


def test_the_bar_shows_batches_and_metrics(capsys: pytest.CaptureFixture[str], model: Any, data: Any) -> None:
    """Keras's bar counts the batches of an epoch and ends with its metrics."""
    fit(model, *data, validation_data=data, batch_size=6, verbose=2)
    out = capsys.readouterr().out
    assert out.startswith("4/4")
    assert "val_loss" in out


@pytest.mark.parametrize(("arguments", "shown"), [({}, False), ({"verbose": 1}, True)])
def test_a_plugin_that_shows_progress_replaces_the_bar(
    capsys: pytest.CaptureFixture[str], model: Any, data: Any, calls: Any, arguments: dict[str, Any], *, shown: bool
) -> None:
    """If a plugin has `shows_progress`, Keras's bar is shown only with `verbose`."""
    plugin = calls(on_train_end=lambda run: None)  # noqa: ARG005 - a plugin needs a hook
    plugin.shows_progress = True
    fit(model, *data, plugins=[plugin], **arguments)
    assert bool(capsys.readouterr().out) is shown


# Arguments


def test_fit_trains_as_keras_does(make: Any, data: Any) -> None:
    """The weights after `fit` are bit for bit those after `model.fit` with the same arguments, also by position."""
    weighted: dict[str, Any] = {"validation_split": 0.25, "class_weight": {0: 0.2, 1: 1.0}, "shuffle": True}
    ours, theirs = make(), make()
    keras.utils.set_random_seed(5)
    run = fit(ours, *data, 6, 2, 0, **weighted)
    keras.utils.set_random_seed(5)
    history = theirs.fit(*data, 6, 2, 0, **weighted)
    for our_weight, their_weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(our_weight, their_weight)
    assert run.history["val_loss"] == history.history["val_loss"]


def test_a_models_own_fit_is_called(data: Any) -> None:
    """A model that overrides `fit` with other arguments, and calls Keras's, is trained by its own `fit`."""
    called: list[str] = []

    class Own(keras.Sequential):  # type: ignore[misc]  # Keras ships no types
        def fit(self, *args: Any, tag: str, **kwargs: Any) -> Any:
            called.append(tag)
            return super().fit(*args, **kwargs)

    model = Own([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    run = fit(model, *data, batch_size=24, epochs=2, verbose=0, tag="mine")
    assert called == ["mine"]
    assert run.steps_per_epoch == 1


def test_callbacks_may_be_one_or_none_or_a_list(model: Any, data: Any, watch: Watch) -> None:
    """`callbacks` takes what Keras takes, except a `CallbackList`, which is refused with the reason."""
    alone = watch()
    fit(model, *data, batch_size=24, callbacks=alone, verbose=0)
    fit(model, *data, batch_size=24, callbacks=None, verbose=0)
    assert len(alone.epochs) == 1
    with pytest.raises(ParameterError, match="CallbackList"):
        fit(model, *data, callbacks=keras.callbacks.CallbackList([]), verbose=0)


@pytest.mark.parametrize(
    "given",
    [
        lambda callback: [callback],
        lambda callback: [("named", callback)],
        lambda callback: callback,
    ],
    ids=["in a list", "with a name", "alone"],
)
def test_a_keras_callback_among_plugins_is_refused_with_the_way_out(train: Train, model: Any, data: Any, given: Any) -> None:
    """A Keras callback among the plugins is an error that names `callbacks=` and `from_keras`."""
    del train
    callback = keras.callbacks.TerminateOnNaN()
    with pytest.raises(RegistrationError, match=r"TerminateOnNaN is a Keras callback.*callbacks=\[.*from_keras\("):
        fit(model, *data, plugins=given(callback), verbose=0)
    with pytest.raises(RegistrationError, match=r"from_keras\(TerminateOnNaN"):
        KerasAdapter(given(callback))


# Validation data


class Validating:
    """Keeps the validation data that plugins get."""

    data: Any = ()

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        self.data = run.validation_data


def test_validation_data_are_what_was_given(model: Any, data: Any) -> None:
    """`run.validation_data` is the object that `fit` was given, also with a split, which Keras then ignores."""
    plugin = Validating()
    fit(model, *data, validation_data=data, validation_split=0.5, batch_size=24, verbose=0, plugins=[plugin])
    assert plugin.data is data


def test_there_are_no_validation_data_without_validation(model: Any, data: Any) -> None:
    """Without validation `run.validation_data` is None."""
    plugin = Validating()
    fit(model, *data, batch_size=24, verbose=0, plugins=[plugin])
    assert plugin.data is None


@pytest.mark.parametrize("fraction", [0.25, 0.3, 0.1])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_validation_data_are_the_part_that_keras_splits_off(make: Any, data: Any, fraction: float, *, weighted: bool) -> None:
    """With `validation_split`, an evaluation of `run.validation_data`, with its sample weights, gives `val_loss`."""
    model = make(weighted_metrics=["mae"])
    weights = np.linspace(0, 1, 24).astype("float32") if weighted else None
    plugin = Validating()
    run = fit(model, *data, sample_weight=weights, validation_split=fraction, batch_size=24, verbose=0, plugins=[plugin])
    assert len(plugin.data) == (3 if weighted else 2)
    x, y, *rest = plugin.data
    scores = model.evaluate(x, y, sample_weight=rest[0] if rest else None, batch_size=24, verbose=0, return_dict=True)
    assert {f"val_{name}": value for name, value in scores.items()}.items() <= run.history.last().items()


@only_on("tensorflow", what="its sparse tensors")
def test_validation_data_of_sparse_tensors_are_left_out() -> None:
    """Sparse tensors, which Keras can split but which do not support slices, are trained without `run.validation_data`."""
    x = tf.sparse.from_dense(np.eye(8, dtype="float32"))
    model = keras.Sequential([keras.layers.Input((8,), sparse=True), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    plugin = Validating()
    run = fit(model, x, np.ones((8, 1)), validation_split=0.5, batch_size=4, verbose=0, plugins=[plugin])
    assert plugin.data is None
    assert (run.steps_per_epoch, len(run.history["val_loss"])) == (1, 1)


# Learning rates


class Reschedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras ships no types
    """A user's schedule without `get_config`, which only saving needs."""

    def __call__(self, step: Any) -> Any:
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), "schedule, CosineDecay"),
        (lambda: keras.optimizers.SGD(Reschedule()), "schedule, Reschedule"),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(Reschedule())), "schedule, Reschedule"),
        (lambda: None, "compiled without an optimizer"),
        pytest.param(
            lambda: keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))),
            "MultiOptimizer has no learning rate to set",
            marks=pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="needs a newer Keras"),
        ),
    ],
    ids=["CosineDecay", "a user's schedule", "scaled losses", "no optimizer", "several optimizers"],
)
def test_a_learning_rate_plugin_is_refused_if_the_rate_cannot_be_set(
    train: Train, make: Any, data: Any, watch: Watch, *, optimizer: Callable[[], Any], reason: str
) -> None:
    """`CapabilityError` names the plugin and the reason, before the first batch."""
    seen = watch()
    with pytest.raises(CapabilityError, match=rf"'reduce_lr_on_plateau' needs the trainee's learning rate, but .*{reason}"):
        train(make(optimizer=optimizer()), *data, plugins=[ReduceLROnPlateau("loss")], callbacks=[seen])
    assert seen.batches == []


def test_a_learning_rate_that_a_plugin_sets_is_the_one_used(train: Train, make: Any, data: Any) -> None:
    """A rate set at the beginning of an epoch is used in its first batch: the weights equal those of a model compiled with it."""
    ours, theirs = make(optimizer=keras.optimizers.SGD(0.9)), make(optimizer=keras.optimizers.SGD(0.125))
    run = train(ours, *data, batch_size=12, shuffle=False, plugins=[LearningRateSchedule(lambda epoch: 0.125)])  # noqa: ARG005
    theirs.fit(*data, batch_size=12, shuffle=False, verbose=0)
    for our_weight, their_weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(our_weight, their_weight)
    assert run.learning_rate == 0.125


def test_a_models_own_loop_may_pass_the_callbacks_what_they_take(data: Any) -> None:
    """An overridden `fit` gets a plain list of callbacks, and a `CallbackList` that it makes has Keras's signatures."""
    recording = RecordingPlugin()

    class OwnLoop(keras.Sequential):  # type: ignore[misc]  # Keras ships no types
        def fit(self, x: Any, y: Any, callbacks: Any = None, **kwargs: Any) -> None:
            del kwargs
            callbacks = keras.callbacks.CallbackList(callbacks, model=self, epochs=1)
            callbacks.on_train_begin()
            callbacks.on_epoch_begin(0)
            callbacks.on_train_batch_begin(0, {})
            callbacks.on_train_batch_end(0, logs=self.train_on_batch(x, y, return_dict=True))
            callbacks.on_epoch_end(0, {"loss": 1.0})
            callbacks.on_train_end()

    model = OwnLoop([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    fit(model, *data, plugins=[recording], verbose=0)
    assert recording.hooks.count("on_batch_end") == 1


@TF_DATA
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_vote_in_the_validation_cuts_no_epoch(train: Train, model: Any, data: Any, calls: Any) -> None:
    """A vote in the validation does not shorten the epoch, whose length was unknown before."""
    lengths: list[int | None] = []
    plugin = calls(on_evaluate_end=lambda run: run.stop("enough"), on_epoch_end=lambda run: lengths.append(run.steps_per_epoch))
    batches = tf.data.Dataset.from_tensor_slices(data).batch(6).filter(lambda x, y: True)  # noqa: ARG005 - hides the length
    run = train(model, batches, validation_data=data, epochs=3, shuffle=False, plugins=[plugin])
    assert lengths == [4]
    assert run.outcome is Outcome.STOPPED


def test_numbers_may_be_numpys(train_by_fit: Train, model: Any, data: Any) -> None:
    """`fit` accepts NumPy's numbers, also those that Keras refuses, and the run has Python's."""
    two: Any = np.int64(2)
    given = {"epochs": np.int64(4), "initial_epoch": np.int64(0), "steps_per_epoch": two, "validation_freq": two}
    run = train_by_fit(model, *data, batch_size=np.int64(6), validation_data=data, validation_steps=two, **given)
    assert repr((run.epochs, run.steps_per_epoch, run.validation_freq, run.progress.step)) == "(4, 2, 2, 8)"
    assert [math.isnan(value) for value in run.history["val_loss"]] == [True, False, True, False]


def test_the_adapter_takes_a_validation_freq_of_numpy(model: Any, data: Any) -> None:
    """The adapter accepts a NumPy number as `validation_freq`, and the run has Python's."""
    given: Any = np.int64(2)
    adapter = KerasAdapter([], validation_freq=given)
    model.fit(*data, epochs=2, validation_data=data, validation_freq=2, verbose=0, callbacks=[adapter])
    assert adapter.run is not None
    assert repr(adapter.run.validation_freq) == "2"


def test_a_configuration_may_be_given_for_plugins(tmp_path: Path) -> None:
    """`plugins` may be the path of a configuration, or a mapping, which is not read as a list of names."""
    path = tmp_path / "hookcore.json"
    path.write_text('{"hookcore": {"plugins": [{"early_stopping": {"patience": 3}}]}}')
    for given in (path, str(path), {"plugins": {"early_stopping": {"patience": 3}}}):
        assert KerasAdapter(given).engine["early_stopping"].patience == 3
