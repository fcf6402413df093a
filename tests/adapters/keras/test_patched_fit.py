"""Plugins under tools such as MLflow, Comet and ClearML, which replace `Model.fit`, read its callbacks, and add their own."""

from __future__ import annotations

import copy
import signal
from typing import TYPE_CHECKING, Any, Final

import keras
import pytest

from hookcore import Engine, HookcoreError, Outcome
from hookcore.testing import RecordingPlugin
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_plugins import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable

    Adds = Callable[[Any, Any], Any]


def appending(callbacks: Any, theirs: Any) -> Any:
    callbacks.append(theirs)
    return callbacks


def checking(callbacks: Any, theirs: Any) -> Any:
    assert isinstance(callbacks, list)
    assert all(isinstance(callback, keras.callbacks.Callback) for callback in callbacks)
    return [*callbacks[:], theirs]


def a_list_of_its_own(callbacks: Any, theirs: Any) -> Any:
    made = keras.callbacks.CallbackList([*callbacks, theirs], add_history=True, verbose=0, epochs=2, steps=2)
    return made.callbacks


ADDS: Final[dict[str, Adds]] = {
    "a copy": lambda callbacks, theirs: [*list(callbacks), theirs],
    "in place": appending,
    "after a check": checking,
    "first": lambda callbacks, theirs: [theirs, *callbacks],
    "a tuple": lambda callbacks, theirs: (*callbacks, theirs),
    "deep copies": lambda callbacks, theirs: [*copy.deepcopy(callbacks), theirs],
    "from a CallbackList": a_list_of_its_own,
}


class Theirs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """A tool's callback, which counts its calls and logs a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.batches += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["theirs"] = float(epoch)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Adds], list[Theirs]]:
    """Return `patch(adds)`, which replaces `Model.fit` like such a tool, and returns its callbacks, one for each fit."""

    def replace(adds: Adds) -> list[Theirs]:
        original, made = keras.Model.fit, []

        def patched(self: Any, *args: Any, **kwargs: Any) -> Any:  # without Keras's signature, as in most tools
            made.append(Theirs())
            kwargs["callbacks"] = adds(kwargs["callbacks"], made[-1])
            return original(self, *args, **kwargs)

        monkeypatch.setattr(keras.Model, "fit", patched)
        return made

    return replace


@pytest.mark.parametrize("name", ADDS)
def test_plugins_and_the_tools_callback_get_every_event_once(
    patch: Callable[[Adds], list[Theirs]], make: Any, data: Any, name: str
) -> None:
    """However a tool adds its callback, plugins get the events of an unpatched fit, with the callback's metrics."""
    arguments: dict[str, Any] = {"validation_data": data, "batch_size": 12, "epochs": 2, "verbose": 0}
    plain, recording = RecordingPlugin(), RecordingPlugin()
    fit(make(), *data, plugins=[plain], **arguments)
    made = patch(ADDS[name])
    model = make()
    run = fit(model, *data, plugins=[recording], **arguments)
    assert recording.hooks == plain.hooks
    assert run.history["theirs"] == [0.0, 1.0]
    assert made[0].batches == 4
    assert {name: run.history[name] for name in run.history} == model.history.history | {"theirs": [0.0, 1.0]}


def test_a_plugin_decides_on_what_the_tool_logs(patch: Callable[[Adds], list[Theirs]], make: Any, data: Any) -> None:
    """A metric that a tool's callback adds can be monitored."""
    patch(ADDS["a copy"])
    run = fit(make(), *data, batch_size=24, epochs=9, verbose=0, plugins=[EarlyStopping("theirs", mode="min", patience=2)])
    assert run.history["theirs"] == [0.0, 1.0, 2.0]
    assert run.outcome is Outcome.STOPPED


@pytest.mark.parametrize("name", ["a copy", "in place"])
def test_an_exception_ends_the_run(patch: Callable[[Adds], list[Theirs]], make: Any, data: Any, raising: Any, name: str) -> None:
    """An exception in training ends the run for plugins, and reaches the caller through the tool."""
    patch(ADDS[name])
    recording = RecordingPlugin()
    broken = keras.callbacks.LambdaCallback(on_train_batch_end=raising(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        fit(make(), *data, batch_size=12, verbose=0, callbacks=[broken], plugins=[recording])
    assert recording.hooks[-2:] == ["on_exception", "on_train_end"]


@pytest.mark.parametrize("name", ["a copy", "in place"])
def test_ctrl_c_waits_for_the_batch(patch: Callable[[Adds], list[Theirs]], make: Any, data: Any, calls: Any, name: str) -> None:
    """Ctrl-C takes effect after every plugin and callback has had the batch, as in an unpatched fit."""
    made = patch(ADDS[name])
    ended: list[int] = []
    plugins = [
        calls("interrupts", on_batch_begin=lambda _: signal.raise_signal(signal.SIGINT)),
        calls("counts", on_batch_end=lambda run: ended.append(run.progress.step)),
    ]
    engine = Engine(plugins)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), *data, batch_size=12, verbose=0, plugins=engine)
    assert (ended, made[0].batches) == ([1], 1)
    assert engine.run is not None
    assert engine.run.outcome is Outcome.INTERRUPTED


def test_the_adapter_works_there_too(patch: Callable[[Adds], list[Theirs]], make: Any, data: Any) -> None:
    """`KerasAdapter` also gets every event once."""
    patch(ADDS["a copy"])
    recording = RecordingPlugin()
    make().fit(*data, batch_size=12, verbose=0, callbacks=[KerasAdapter([recording])])
    assert recording.hooks.count("on_batch_end") == 2
    assert recording.hooks[-1] == "on_train_end"


def test_a_tool_that_drops_the_callbacks_is_named(patch: Callable[[Adds], list[Theirs]], make: Any, data: Any) -> None:
    """If the callbacks of `fit` do not reach Keras, so that no plugin is called, an error names `Model.fit`."""
    patch(lambda callbacks, theirs: [theirs])  # noqa: ARG005 - dropped
    with pytest.raises(HookcoreError, match=r"Sequential\.fit returned without a run, because it did not pass its callbacks"):
        fit(make(), *data, verbose=0, plugins=[RecordingPlugin()])
