"""How runs end in `fit` and under `KerasAdapter`: votes to stop, exceptions and Ctrl-C, without effects on the next run."""

from __future__ import annotations

import concurrent.futures
import signal
from typing import TYPE_CHECKING, Any

import keras
import pytest

from hookcore import (
    Engine,
    Outcome,
    PluginError,
    Run,
)
from hookcore.testing import RecordingPlugin
from hookcore_adapters.keras import KerasAdapter, fit
from tests.adapters.keras.backends import TF_DATA, Batches, tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Train = Callable[..., Run]
    Watch = Callable[[], Any]


ENDS_OF_DATA: list[Exception] = [StopIteration(), *([] if tf is None else [tf.errors.OutOfRangeError(None, None, "end")])]
"""Exceptions that Keras treats as the end of the data, on this backend."""


def stop(run: Run) -> None:
    """Vote to stop."""
    run.stop("enough")


# Stops


@pytest.mark.parametrize(
    ("hook", "epochs", "steps"),
    [
        # Keras checks at the end of a batch and of an epoch, so after a vote before a batch that batch is still trained.
        ("on_train_begin", [0], 1),
        ("on_epoch_begin", [0], 1),
        ("on_batch_begin", [0], 1),
        ("on_batch_end", [0], 1),
        ("on_evaluate_batch_end", [0], 4),
        ("on_evaluate_end", [0], 4),
        ("on_epoch_end", [0], 4),
    ],
)
def test_a_vote_stops_the_run(
    train: Train, model: Any, data: Any, calls: Any, *, hook: str, epochs: list[int], steps: int
) -> None:
    """A vote ends the run at the next end of a batch or epoch, and the epoch is still validated and ended."""
    run = train(model, *data, validation_data=data, batch_size=6, epochs=5, plugins=[calls(**{hook: stop})])
    assert run.outcome is Outcome.STOPPED
    assert run.history.epochs == epochs
    assert run.progress.step == steps
    assert "val_loss" in run.history
    assert {(reason.plugin, reason.message) for reason in run.stop_reasons} == {("calls", "enough")}


def test_every_vote_of_an_event_is_kept(train: Train, model: Any, data: Any, calls: Any) -> None:
    """Two votes at the same event are both in `run.stop_reasons`, in the order of the plugins, with epoch and step."""
    plugins = [calls("one", on_epoch_end=stop), calls("two", on_epoch_end=stop)]
    run = train(model, *data, batch_size=6, epochs=5, plugins=plugins)
    assert [(reason.plugin, reason.epoch, reason.step) for reason in run.stop_reasons] == [("one", 0, 4), ("two", 0, 4)]


def test_a_stop_by_a_callback_has_a_reason(train: Train, model: Any, data: Any) -> None:
    """If a callback sets `model.stop_training`, the run is stopped, with a single reason that no plugin caused it."""

    class Stopping(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            self.model.stop_training = batch == 1

    run = train(model, *data, batch_size=6, epochs=5, callbacks=[Stopping()])
    assert run.outcome is Outcome.STOPPED
    assert [(reason.plugin, reason.epoch, reason.step) for reason in run.stop_reasons] == [("keras", 0, 2)]
    assert "something else than a plugin" in run.stop_reasons[0].message


def test_a_callback_that_stops_after_a_plugin_did_adds_no_reason(train: Train, model: Any, data: Any, calls: Any) -> None:
    """A plugin's vote also sets `model.stop_training`, which does not count as a callback's stop."""
    run = train(model, *data, batch_size=6, epochs=5, plugins=[calls(on_batch_end=stop)])
    assert model.stop_training is True
    assert [reason.plugin for reason in run.stop_reasons] == ["calls"]


def test_two_adapters_never_meet(model: Any, data: Any, calls: Any) -> None:
    """Each of two adapters in one `model.fit` has a run: a vote in one is a stop from outside for the other."""
    first, second = KerasAdapter([calls(on_epoch_end=stop)]), KerasAdapter([recording := RecordingPlugin()])
    model.fit(*data, batch_size=24, epochs=5, callbacks=[first, second], verbose=0)
    assert first.run is not None
    assert second.run is not None
    assert [reason.plugin for reason in first.run.stop_reasons] == ["calls"]
    assert [reason.plugin for reason in second.run.stop_reasons] == ["keras"]
    assert recording.hooks.count("on_epoch_end") == 1


# Exceptions


ENDING = ("on_exception", "on_train_end")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_a_callbacks_error_reaches_plugins_and_the_caller(
    train_by_fit: Any, model: Any, data: Any, raising: Any, error: BaseException
) -> None:
    """An error of a callback in `fit` calls `on_exception`, then `on_train_end`, and then reaches the caller."""
    recording = RecordingPlugin()
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=raising(error))
    with pytest.raises(type(error)) as caught:
        train_by_fit(model, *data, batch_size=6, plugins=[recording], callbacks=[callback])
    assert caught.value is error
    outcome = Outcome.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Outcome.FAILED
    assert recording.events[-2:] == [("on_exception", error), ("on_train_end", outcome)]
    assert recording.hooks.count("on_train_end") == 1
    assert train_by_fit.run.outcome is outcome


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_begin", "on_epoch_end"])
def test_an_error_in_any_method_of_a_callback_ends_the_run(
    train_by_fit: Any, model: Any, data: Any, raising: Any, hook: str
) -> None:
    """An error in any method of a callback ends the run for plugins, once."""
    recording = RecordingPlugin()
    callback = keras.callbacks.LambdaCallback(**{hook: raising(ValueError("bad"))})
    with pytest.raises(ValueError, match="bad"):
        train_by_fit(model, *data, batch_size=6, plugins=[recording], callbacks=[callback])
    assert tuple(recording.hooks[-2:]) == ENDING
    assert recording.hooks.count("on_train_end") == 1


def test_a_callbacks_error_before_training_begins_no_run(train_by_fit: Any, model: Any, data: Any, raising: Any) -> None:
    """If a callback raises an error in on_train_begin, before plugins are called, no run begins, and the next is complete."""
    recording = RecordingPlugin()
    callback = keras.callbacks.LambdaCallback(on_train_begin=raising(ValueError("bad")))
    with pytest.raises(ValueError, match="bad"):
        train_by_fit(model, *data, batch_size=6, plugins=[recording], callbacks=[callback])
    assert recording.events == []
    assert train_by_fit(model, *data, batch_size=6, plugins=[recording]).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("hook", "last", "step"),
    [
        ("on_train_begin", "on_epoch_begin", 0),
        ("on_batch_begin", "on_batch_end", 1),
        ("on_batch_end", "on_batch_end", 1),
        ("on_evaluate_begin", "on_evaluate_batch_end", 4),
        ("on_epoch_end", "on_metrics", 4),
    ],
)
def test_ctrl_c_waits_for_the_end_of_the_batch(
    train_by_fit: Any, model: Any, data: Any, calls: Any, *, hook: str, last: str, step: int
) -> None:
    """SIGINT in `fit` takes effect between two batches, so steps and optimizer agree, and the handler is restored."""
    before = signal.getsignal(signal.SIGINT)
    recording = RecordingPlugin()
    plugin = calls(**{hook: lambda _: signal.raise_signal(signal.SIGINT)})
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(model, *data, validation_data=data, batch_size=6, epochs=3, plugins=[plugin, recording])
    assert recording.hooks[-3:] == [last, "on_exception", "on_train_end"]
    assert train_by_fit.run.outcome is Outcome.INTERRUPTED
    assert train_by_fit.run.progress.step == int(model.optimizer.iterations) == step
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_is_raised_at_once(train_by_fit: Any, model: Any, data: Any, calls: Any) -> None:
    """Two SIGINTs within one batch end the run when the second one arrives."""

    def twice(run: Run) -> None:
        del run
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    recording = RecordingPlugin()
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(model, *data, batch_size=6, plugins=[calls(on_batch_begin=twice), recording])
    assert recording.hooks[-3:] == ["on_epoch_begin", "on_exception", "on_train_end"]


def test_ctrl_c_after_the_last_event_is_not_lost(train_by_fit: Any, model: Any, data: Any, calls: Any) -> None:
    """SIGINT in `on_train_end` reaches the caller, and the run is completed."""
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(model, *data, plugins=[calls(on_train_end=lambda _: signal.raise_signal(signal.SIGINT))])
    assert train_by_fit.run.outcome is Outcome.COMPLETED


def test_a_program_that_handles_ctrl_c_itself_continues_to_do_so(train_by_fit: Any, model: Any, data: Any, calls: Any) -> None:
    """If SIGINT has another handler than Python's, `fit` does not replace it."""
    handled: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: handled.append(number))
    try:
        run = train_by_fit(model, *data, plugins=[calls(on_epoch_begin=lambda _: signal.raise_signal(signal.SIGINT))])
    finally:
        signal.signal(signal.SIGINT, before)
    assert handled == [signal.SIGINT]
    assert run.outcome is Outcome.COMPLETED


def test_fit_works_outside_of_the_main_thread(model: Any, data: Any) -> None:
    """In another than the main thread, which cannot handle signals, `fit` trains without a handler."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        run = pool.submit(fit, model, *data, batch_size=24, verbose=0).result()
    assert run.outcome is Outcome.COMPLETED


def test_an_error_in_the_data_fails_the_run(train_by_fit: Any, make: Any, data: Any) -> None:
    """In `fit`, an error in the data's generator fails the run, and Keras's error reaches the caller."""

    def broken() -> Iterator[Any]:
        yield data
        yield data
        raise OSError("the disk is gone")

    recording = RecordingPlugin()
    # TensorFlow's pipeline converts it to another error.
    with pytest.raises(OSError if tf is None else tf.errors.OpError, match="the disk is gone") as caught:
        train_by_fit(make(), broken(), shuffle=False, steps_per_epoch=9, plugins=[recording])
    assert recording.events[-2:] == [("on_exception", caught.value), ("on_train_end", Outcome.FAILED)]
    assert train_by_fit.run.progress.step < 9


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_evaluate_end", "on_epoch_end"]
)
def test_a_plugins_ctrl_c_ends_the_run_at_once(train: Any, model: Any, data: Any, calls: Any, raising: Any, *, hook: str) -> None:
    """In both forms, a plugin's exception ends the run for the other plugins too, and reaches the caller unchanged."""
    recording, error = RecordingPlugin(), KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(model, *data, validation_data=data, batch_size=24, plugins=[calls(**{hook: raising(error)}), recording])
    assert caught.value is error
    assert recording.events[-2:] == [("on_exception", error), ("on_train_end", Outcome.INTERRUPTED)]
    assert recording.hooks.count("on_train_end") == 1
    assert train.run.outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_evaluate_batch_end"])
@pytest.mark.parametrize("error", ENDS_OF_DATA, ids=lambda error: type(error).__name__)
def test_what_means_the_end_of_data_never_shortens_the_epoch(
    train: Any, model: Any, data: Any, calls: Any, raising: Any, *, hook: str, error: Exception
) -> None:
    """If a plugin raises an exception that Keras treats as the end of the data, the caller gets a `PluginError`."""
    recording = RecordingPlugin()
    with pytest.raises(PluginError, match=type(error).__name__) as caught:
        train(model, *data, validation_data=data, batch_size=12, plugins=[calls(**{hook: raising(error)}), recording])
    assert "'calls'" in "".join([str(caught.value), *getattr(caught.value, "__notes__", ())]), "it must name the plugin"
    assert [type(failure.error) for failure in train.run.failures] == [type(error)]
    assert recording.events[-1] == ("on_train_end", Outcome.FAILED)


def test_an_observers_error_leaves_the_run_going(train: Train, model: Any, data: Any, calls: Any, raising: Any) -> None:
    """An observer that raises any exception is disabled, and every other plugin gets every batch."""
    observer = calls(on_batch_end=raising(StopIteration()))
    observer.role = "observer"
    recording = RecordingPlugin()
    run = train(model, *data, batch_size=6, plugins=[observer, recording])
    assert run.outcome is Outcome.COMPLETED
    assert recording.hooks.count("on_batch_end") == 4
    assert [(failure.plugin, failure.disabled) for failure in run.failures] == [("calls", True)]


def test_the_run_after_a_failed_one_is_whole(train: Any, model: Any, data: Any, raising: Any) -> None:
    """After an exception, another run with the same plugins completes."""
    recording = RecordingPlugin()
    engine = Engine([recording])
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=raising(ValueError("bad")))
    with pytest.raises(ValueError, match="bad"):
        train(model, *data, batch_size=24, plugins=engine, callbacks=[callback])
    recording.events.clear()
    run = train(model, *data, batch_size=24, plugins=engine)
    assert run.outcome is Outcome.COMPLETED
    late = ["on_exception", "on_train_end"] if train.name == "adapter" else []  # Keras did not report the exception
    assert recording.hooks == [
        *late,
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_epoch_end",
        "on_metrics",
        "on_train_end",
    ]


class Interrupted(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Data with a Ctrl-C when they are first read, before training has begun."""

    def __init__(self, data: tuple[Any, Any]) -> None:
        super().__init__()
        self.data, self.looked = data, False

    def __len__(self) -> int:
        if not self.looked:
            self.looked = True
            signal.raise_signal(signal.SIGINT)
        return 1

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.data


def test_ctrl_c_after_a_fit_that_failed_is_not_delayed(model: Any, data: Any) -> None:
    """After a fit that failed, with the adapter still in memory, Ctrl-C is raised at once in the program."""

    class Failing(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            raise RuntimeError

    recording = RecordingPlugin()
    adapter = KerasAdapter([recording])
    with pytest.raises(RuntimeError):
        model.fit(*data, verbose=0, callbacks=[adapter, Failing()])
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert recording.hooks[-1] == "on_batch_end"


def test_a_second_ctrl_c_is_raised_at_once_although_the_first_came_before_training(
    train_by_fit: Any, model: Any, data: Any, calls: Any
) -> None:
    """A second Ctrl-C is raised at once, also if the first came before training began."""
    recording = RecordingPlugin()
    plugin = calls(on_epoch_begin=lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(model, Interrupted(data), epochs=3, plugins=[plugin, recording])
    assert recording.hooks == ["on_train_begin", "on_exception", "on_train_end"]


def test_ctrl_c_before_training_is_raised_before_any(train_by_fit: Any, model: Any, data: Any) -> None:
    """Ctrl-C while Keras reads the data or builds the model is raised before the first batch."""
    recording = RecordingPlugin()
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(model, Interrupted(data), epochs=3, plugins=[recording])
    assert recording.hooks == ["on_train_begin", "on_epoch_begin", "on_exception", "on_train_end"]
    assert train_by_fit.run.outcome is Outcome.INTERRUPTED


def test_ctrl_c_at_the_end_of_an_epoch_leaves_it_to_the_callbacks(train_by_fit: Any, model: Any, data: Any, calls: Any) -> None:
    """When Ctrl-C is raised at the end of an epoch, callbacks have had the ends of the batch and the epoch."""
    ended: list[tuple[str, int]] = []

    class Listener(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            ended.append(("batch", batch))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            del logs
            ended.append(("epoch", epoch))

    for hook, expected in ("on_batch_end", [("batch", 0)]), ("on_epoch_end", [("batch", 0), ("epoch", 0)]):
        ended.clear()
        plugin = calls(**{hook: lambda _: signal.raise_signal(signal.SIGINT)})
        with pytest.raises(KeyboardInterrupt):
            train_by_fit(model, *data, batch_size=24, epochs=3, plugins=[plugin], callbacks=[Listener()])
        assert ended == expected
    assert model.history.epoch == [0]


def test_ctrl_c_that_a_models_own_fit_caught_is_not_raised_again(data: Any, calls: Any) -> None:
    """If a model's own `fit` catches Ctrl-C and ends the training normally, `fit` returns the run."""

    class Patient(keras.Sequential):  # type: ignore[misc]  # Keras ships no types
        def fit(self, *args: Any, **kwargs: Any) -> None:
            with pytest.raises(KeyboardInterrupt):
                super().fit(*args, **kwargs)

    model = Patient([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    run = fit(model, *data, epochs=3, verbose=0, plugins=[calls(on_batch_end=lambda _: signal.raise_signal(signal.SIGINT))])
    assert run.progress.step == 1


@pytest.mark.parametrize("way", ["evaluate", "predict"])
@pytest.mark.parametrize("moment", ["begin", "end"])
@pytest.mark.parametrize("error", ENDS_OF_DATA, ids=lambda error: type(error).__name__)
def test_what_means_the_end_of_data_shortens_no_evaluation(
    model: Any, data: Any, calls: Any, raising: Any, *, way: str, moment: str, error: Exception
) -> None:
    """An exception that Keras treats as the end of the data does not shorten an evaluation or prediction outside of fit."""
    adapter = KerasAdapter([calls(**{f"on_{way}_batch_{moment}": raising(error)})])
    with pytest.raises(PluginError, match=f"'calls' raised {type(error).__name__}"):
        getattr(model, way)(data[0], **({"y": data[1]} if way == "evaluate" else {}), callbacks=[adapter], verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
@pytest.mark.parametrize("known", [True, pytest.param(False, marks=TF_DATA)])
def test_an_interrupt_in_a_validation_ends_it_there(train_by_fit: Any, make: Any, data: Any, calls: Any, *, known: bool) -> None:
    """Ctrl-C in a validation takes effect after the batch that is evaluated, also if Keras began a batch without data."""
    train = Batches(data) if known else tf.data.Dataset.from_tensor_slices(data).batch(6).filter(lambda x, y: True)  # noqa: ARG005
    evaluated: list[int] = []

    def interrupt(run: Run) -> None:
        evaluated.append(run.progress.step)
        run.interrupt(KeyboardInterrupt())

    plugins = [calls(on_evaluate_batch_end=interrupt)]
    with pytest.raises(KeyboardInterrupt):
        train_by_fit(make(), train, validation_data=train, epochs=2, shuffle=False, plugins=plugins)
    assert evaluated == [4]
