"""Run an existing Keras callback as a plugin, in any loop."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore import Outcome, ParameterError, Run, hookimpl
from hookcore.registry.discovery import name_of
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.callback_states import restore_state, state_of
from hookcore_adapters.keras.held_weights import held_weights_of
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "on_train_begin": (),
    "on_epoch_begin": ("on_epoch_begin",),
    "on_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_batch_end": ("on_train_batch_end", "on_batch_end"),
    "on_evaluate_begin": ("on_test_begin",),
    "on_evaluate_batch_begin": ("on_test_batch_begin",),
    "on_evaluate_batch_end": ("on_test_batch_end",),
    "on_evaluate_end": ("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"),
    "on_epoch_end": ("on_epoch_end",),
    "on_predict_begin": ("on_predict_begin",),
    "on_predict_batch_begin": ("on_predict_batch_begin",),
    "on_predict_batch_end": ("on_predict_batch_end",),
    "on_predict_end": ("on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end"),
    "on_train_end": (),
}
"""The methods of a Keras callback for each hook. The plugin has the hook if the callback overrides one, or if none is listed."""


def from_keras(callback: Any, *, name: str | None = None) -> types.SimpleNamespace:
    """Return a plugin that runs `callback`, a `keras.callbacks.Callback`, in any loop.

    The plugin has only the hooks that the callback implements, and passes it converted metrics in a new dict, but no outputs of
    predictions. Numbers that the callback adds to the logs at the end of an epoch become metrics, as in Keras. If it sets
    `model.stop_training`, the plugin votes to stop. Checkpoints contain its state if it has `state_dict` and `load_state_dict`.
    As in Keras, `on_train_end` is not called after an exception. `name` is by default the name of the callback's class in snake
    case. Raises `ParameterError` if `callback` is not a Keras callback.
    """
    if not isinstance(callback, keras.callbacks.Callback):
        raise ParameterError(f"from_keras: expected an instance of keras.callbacks.Callback, got {callback!r}.")
    hosted = _Hosted(callback)
    hooks = {
        hook: getattr(hosted, hook) for hook, methods in _METHODS.items() if not methods or any(map(hosted.overrides, methods))
    }
    if state_of(callback) is not None:
        hooks |= {"state_dict": hosted.state_dict, "load_state_dict": hosted.load_state_dict}
        hooks |= {"snapshots": hosted.snapshots, "load_snapshots": hosted.load_snapshots}
    return types.SimpleNamespace(name=name or name_of(callback), callback=callback, **hooks)


class _Hosted:
    def __init__(self, callback: Any) -> None:
        self.callback = callback
        self._run: Run | None = None
        self._model: Any = None
        self._trains = False
        self._restored: Mapping[str, Any] | None = None
        """The state to restore after the callback's `on_train_begin`, which would overwrite it."""
        self._held: Mapping[str, Any] = {}
        """The weights to restore with it."""
        self._resumes_epoch = False
        """Whether a restored callback has not seen its epoch begin. An interrupted epoch begins again for Keras's callbacks, but
        not for plugins."""

    def state_dict(self) -> Mapping[str, Any]:
        return state_of(self.callback) or {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._restored, self._held = state, {}

    def snapshots(self) -> Mapping[str, Any]:
        return held_weights_of({"": self.callback}).get("", {})

    def load_snapshots(self, snapshots: Mapping[str, Any]) -> None:
        self._held = snapshots

    def overrides(self, method: str) -> bool:
        return getattr(getattr(self.callback, method), "__func__", None) is not getattr(keras.callbacks.Callback, method)

    def _begin(self, run: Run) -> None:
        self._run = run
        # A callback can also stop a loop without a Keras model.
        self._model = types.SimpleNamespace(stop_training=False) if run.model is None else run.model
        self.callback.set_params({"verbose": 0, "epochs": run.epochs, "steps": run.steps_per_epoch})
        self.callback.set_model(self._model)

    def _call(self, run: Run, method: str, *args: Any) -> None:
        if run is not self._run:  # an evaluation outside of training has no on_train_begin
            self._begin(run)
        model = self._model
        # Others may have set it, and an earlier fit leaves it set. It is this callback's vote only if this call sets it.
        before, model.stop_training = getattr(model, "stop_training", False), False
        try:
            getattr(self.callback, method)(*args)
            if model.stop_training:
                run.stop(f"{type(self.callback).__name__} set model.stop_training")
        finally:
            model.stop_training = model.stop_training or before

    def _release(self) -> None:
        """Drop the model, unless training continues, so that the callback does not keep it in memory."""
        if not self._trains:
            self._run = self._model = None
            internals.drop_model(self.callback)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        self._trains = True
        self._call(run, "on_train_begin", {})
        if self._restored is not None:
            restore_state(self.callback, self._restored, self._held)
            self._restored, self._held, self._resumes_epoch = None, {}, True

    def _resume_epoch(self, run: Run) -> None:
        if self._resumes_epoch and self._trains:
            self.on_epoch_begin(run, run.progress.epoch)

    @hookimpl
    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        self._resumes_epoch = False
        self._call(run, "on_epoch_begin", epoch, {})

    @hookimpl
    def on_batch_begin(self, run: Run, batch: int) -> None:
        self._resume_epoch(run)
        self._call(run, "on_train_batch_begin", batch, {})

    @hookimpl
    def on_batch_end(self, run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        self._call(run, "on_train_batch_end", batch, dict(metrics))

    @hookimpl
    def on_evaluate_begin(self, run: Run) -> None:
        self._resume_epoch(run)
        self._call(run, "on_test_begin", {})

    @hookimpl
    def on_evaluate_batch_begin(self, run: Run, batch: int) -> None:
        self._call(run, "on_test_batch_begin", batch, {})

    @hookimpl
    def on_evaluate_batch_end(self, run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        self._call(run, "on_test_batch_end", batch, dict(metrics))

    @hookimpl
    def on_evaluate_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        self._call(run, "on_test_end", dict(metrics))
        self._release()

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
        logs = dict(metrics)
        self._call(run, "on_epoch_end", epoch, logs)
        run.log({name: value for name, value in numeric_logs(logs).items() if name not in metrics})

    @hookimpl
    def on_predict_begin(self, run: Run) -> None:
        self._call(run, "on_predict_begin", {})

    @hookimpl
    def on_predict_batch_begin(self, run: Run, batch: int) -> None:
        self._call(run, "on_predict_batch_begin", batch, {})

    @hookimpl
    def on_predict_batch_end(self, run: Run, batch: int) -> None:
        self._call(run, "on_predict_batch_end", batch, {})

    @hookimpl
    def on_predict_end(self, run: Run) -> None:
        self._call(run, "on_predict_end", {})
        self._release()

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        # Keras calls it only then, and callbacks rely on it: BackupAndRestore deletes its backup.
        if run.outcome in {Outcome.COMPLETED, Outcome.STOPPED}:
            self._call(run, "on_train_end", dict(run.history.last()))
        self._trains = False
        self._release()
