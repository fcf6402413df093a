"""Common mistakes with Keras are refused before training, with what to do instead."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import keras
import pytest

from hookcore import CheckpointError, Engine, MetricError, ParameterError, RegistrationError
from hookcore_adapters.keras import KerasAdapter, KerasTrainee, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore import Run

    Train = Callable[..., Run]


def model_of(module: str) -> Any:
    """Return an object of a user's subclass of a class in `module`, whose package need not be installed."""
    return type("Model", (type("Base", (), {"__module__": module}),), {})()


def by_an_adapter(model: Any) -> None:
    adapter = KerasAdapter()
    adapter.set_model(model)
    adapter.on_train_begin()


def by_an_evaluation(model: Any) -> None:
    adapter = KerasAdapter()
    adapter.set_model(model)
    adapter.on_test_begin()


ENTRIES = pytest.mark.parametrize(
    "use", [fit, KerasTrainee, by_an_adapter, by_an_evaluation], ids=["fit", "trainee", "adapter", "evaluation"]
)


@ENTRIES
@pytest.mark.parametrize(
    ("make_other", "named"),
    [
        (lambda: model_of("tf_keras.src.engine.training"), r"Model, a model of tf_keras, which is Keras 2\. .*loop\.Loop"),
        (lambda: model_of("torch.nn.modules.module"), r"Model, a module of PyTorch\. .*loop\.Loop"),
        (lambda: pytest.importorskip("sklearn.svm").SVC(), r"SVC, an estimator of scikit-learn\. .*loop\.Loop"),
        (lambda: keras.layers.Dense(1), r"Dense, which is a part of Keras, but not a model: put a layer into one"),
        (lambda: type(model_of("users")), r"the class Model\. Give an instance of it: Model\(\.\.\.\)"),
    ],
    ids=["Keras 2", "PyTorch", "scikit-learn", "layer", "class"],
)
def test_what_is_no_model_of_keras_3_is_named(use: Callable[[Any], object], make_other: Callable[[], Any], named: str) -> None:
    """An object that is not a model of Keras 3 is refused in all functions, with its type, what is expected and what to do."""
    other = make_other()
    with pytest.raises(ParameterError, match=rf"keras\.Model, of Keras {re.escape(keras.__version__)}, and got {named}"):
        use(other)


@pytest.mark.parametrize("use", [fit, KerasTrainee, lambda none: KerasTrainee({"one": none})], ids=["fit", "trainee", "several"])
def test_none_for_a_model_is_named(use: Callable[[Any], object]) -> None:
    """None as a model is refused with its likely cause."""
    with pytest.raises(ParameterError, match=r"got None\. A function that makes the model may lack its return"):
        use(None)


def test_what_stands_in_for_a_model_is_not_trained_by_fit() -> None:
    """An object of unknown kind may stand in for a model in a trainee, but `fit` refuses it."""
    stand_in = model_of("users")
    assert KerasTrainee(stand_in).model is stand_in
    with pytest.raises(ParameterError, match=r"got Model, which is not one\."):
        fit(stand_in)


def test_another_phase_in_the_same_directory_is_told_apart_from_another_model(make: Any, data: Any, tmp_path: Path) -> None:
    """If layers were frozen or the optimizer changed, the error names this cause, and suggests another directory or no resume."""
    arguments: dict[str, Any] = {"batch_size": 24, "verbose": 0, "plugins": [Checkpoint(tmp_path)], "resume": "auto"}
    model = make(optimizer="adam")
    fit(model, *data, **arguments)
    model.layers[0].trainable = False
    model.compile("adam", "mse", run_eagerly=True)
    match = (
        r"of this model, compiled with another optimizer, or with other layers frozen: .*another directory, or leave out resume"
    )
    with pytest.raises(CheckpointError, match=match):
        fit(model, *data, epochs=2, **arguments)
    other = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    other.compile("adam", "mse", run_eagerly=True)
    with pytest.raises(CheckpointError, match="is of another model"):
        fit(other, *data, epochs=2, **arguments)


@pytest.mark.parametrize(
    "plugin", [EarlyStopping(), from_keras(keras.callbacks.TerminateOnNaN())], ids=["plugin", "hosted callback"]
)
def test_a_plugin_among_callbacks_is_refused(model: Any, data: Any, plugin: object) -> None:
    """A plugin among the callbacks of `fit` is an error that names `plugins=` and `KerasAdapter`."""
    with pytest.raises(RegistrationError, match=r"is a plugin, not a Keras callback.*plugins=\[.*KerasAdapter"):
        fit(model, *data, callbacks=[plugin], verbose=0)


@pytest.mark.parametrize(
    "use", [KerasAdapter, Engine, lambda plugin: fit(None, plugins=plugin)], ids=["adapter", "engine", "fit"]
)
def test_one_plugin_instead_of_a_list_is_refused(use: Callable[[object], object]) -> None:
    """One plugin without a list is an error that says to put it into a list."""
    with pytest.raises(RegistrationError, match=r"must be a list of plugins, got EarlyStopping.*Put it into a list"):
        use(EarlyStopping())


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        *(("EarlyStopping", name) for name in ("patience", "min_delta", "baseline", "start_from_epoch")),
        *(("ReduceLROnPlateau", name) for name in ("factor", "patience", "min_delta", "cooldown", "min_lr")),
    ],
)
def test_text_for_a_number_is_refused_by_name(name: str, parameter: str) -> None:
    """A drop-in that gets text for a number raises an error with its name, the parameter and the text."""
    with pytest.raises(TypeError, match=f"{name}: {parameter} must be a number, got '3'"):
        getattr(callbacks, name)(**{parameter: "3"})


def test_an_unknown_keyword_of_fit_is_refused_with_the_nearest(model: Any, data: Any) -> None:
    """A misspelt keyword of `fit` is an error that names the nearest."""
    with pytest.raises(TypeError, match=r"fit got an unexpected keyword argument 'epoch'.*Did you mean 'epochs'\?"):
        fit(model, *data, epoch=3, verbose=0)


@pytest.mark.parametrize(
    ("name", "keyword", "nearest"),
    [
        ("EarlyStopping", "patiense", "patience"),
        ("ReduceLROnPlateau", "min_lrr", "min_lr"),
        ("ModelCheckpoint", "save_best", "save_best_only"),
        ("CSVLogger", "file_name", "filename"),
        ("BackupAndRestore", "backup_directory", "backup_dir"),
        ("SwapEMAWeights", "swap_on_epochs", "swap_on_epoch"),
    ],
)
def test_an_unknown_keyword_of_a_drop_in_is_refused_with_the_nearest(name: str, keyword: str, nearest: str) -> None:
    """A misspelt keyword of a drop-in is a `TypeError` that names the nearest."""
    with pytest.raises(TypeError, match=rf"{name} got an unexpected keyword argument '{keyword}'.*Did you mean '{nearest}'\?"):
        getattr(callbacks, name)(**{keyword: 1})


def test_a_misspelt_monitor_is_refused_before_training_with_its_prefix(train: Train, model: Any, data: Any, watch: Any) -> None:
    """`monitor="val_los"` is an error before the first batch that suggests the full name `val_loss`."""
    seen = watch()
    with pytest.raises(MetricError, match=r"monitor='val_los' has no known direction\. Did you mean 'val_loss'\?"):
        train(model, *data, validation_data=data, plugins=[EarlyStopping("val_los")], callbacks=[seen])
    assert seen.batches == []


@pytest.mark.parametrize(
    ("monitor", "mode", "nearest"),
    [("val_los", "min", "val_loss"), ("val_accuracy", "auto", "val_acc"), ("val_acc", "auto", None), ("other", "min", None)],
)
def test_a_monitor_that_the_model_lacks_gives_a_warning_before_training(
    train: Train, model: Any, data: Any, caplog: pytest.LogCaptureFixture, *, monitor: str, mode: Any, nearest: str | None
) -> None:
    """If a monitored name is similar to a metric of a built and compiled model, the log suggests that before the first epoch."""
    before: list[str] = []
    caplog.set_level(logging.WARNING, "hookcore")
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: before.append(caplog.text), on_epoch_end=lambda _, logs: logs.update({monitor: 1.0})
    )
    train(model, *data, validation_data=data, plugins=[EarlyStopping(monitor, mode=mode)], callbacks=[callback])
    assert (f"monitor={monitor!r} is not one of the model's metrics" in caplog.text) is (nearest is not None)
    assert nearest is None or f"Did you mean {nearest!r}?" in caplog.text
    assert before == [caplog.text]
