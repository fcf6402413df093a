"""`fit`: Keras's own `model.fit` with plugins, which sees exceptions and converts metrics only if something reads them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore import Engine, Metrics, ParameterError
from hookcore.interrupt import DelayedInterrupt
from hookcore.numeric import unwrapped
from hookcore_adapters.keras.data import steps_per_epoch, validation_data
from hookcore_adapters.keras.events import KerasEvents, numeric_logs
from hookcore_adapters.keras.hosted_callback import refuse_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hookcore import Run
    from hookcore.resume import Resume
    from hookcore_adapters.keras.events import Logs

_NUMBERS: Final = frozenset(
    {"batch_size", "epochs", "initial_epoch", "steps_per_epoch", "validation_batch_size", "validation_freq", "validation_steps"}
)


def fit(model: Any, *args: Any, plugins: Iterable[object] | Engine = (), resume: Resume = False, **kwargs: Any) -> Run:
    """Train `model` as `model.fit(*args, **kwargs)` does, with `plugins`, and return the run.

    * `plugins`: what `Engine` takes, or an `Engine`.
    * `callbacks`: Keras callbacks, which work as before. They are called before the plugins: what they add to the logs at an
      epoch's end are metrics, and what they do to the model is in the checkpoint.
    * `verbose`: Keras's progress bar, which is shown by default, unless a plugin shows progress itself.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. Give the same model, compiled alike, data and `epochs`
      as before. Weights, optimizer, seeds, plugins and history are restored, and training continues with the next epoch and, on
      TensorFlow, the next batch. If the data may come in another order now, the log warns. A checkpoint that does not verify or
      is of another model is refused with `CheckpointError`.

    Plugins see the validation data (`run.validation_data`) and the exception that ends a run, Ctrl-C included; the caller gets
    the exception too, and finds the run in `engine.run`. A vote to stop that is given before the first batch of an epoch takes
    effect after that batch, because Keras looks only then. Ctrl-C takes effect between two batches, a second one at once. Raises
    what Keras and the plugins raise.
    """
    engine = Engine.of(refuse_callbacks(plugins))
    # A model may have a `fit` of its own, with more arguments, that calls Keras's.
    signature = inspect.signature(keras.Model.fit)
    bound = signature.bind(model, *args, **{name: value for name, value in kwargs.items() if name in signature.parameters})
    for name in _NUMBERS & bound.arguments.keys():  # Keras refuses some of NumPy's
        bound.arguments[name] = unwrapped(bound.arguments[name])
    unknown = {name: value for name, value in kwargs.items() if name not in signature.parameters}
    if "verbose" not in bound.arguments:
        bound.arguments["verbose"] = 0 if engine.shows_progress else "auto"
    with_defaults = signature.bind(*bound.args, **bound.kwargs)
    with_defaults.apply_defaults()
    bound.arguments["callbacks"] = callbacks = _callback_list(engine, with_defaults.arguments, resume)
    with DelayedInterrupt(callbacks.events.interrupt):  # also while Keras prepares, before the run begins
        try:
            model.fit(*bound.args[1:], **bound.kwargs, **unknown)
        except BaseException as error:
            callbacks.events.failed(error)
            raise
    run = engine.run
    assert run is not None  # noqa: S101 - fit began one
    return run


def _callback_list(engine: Engine, arguments: Mapping[str, Any], resume: Resume) -> HookedCallbackList:
    callbacks, verbose = arguments["callbacks"], arguments["verbose"]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        raise ParameterError("fit: callbacks must be a list of callbacks, got a CallbackList: fit makes its own.")
    return HookedCallbackList(
        KerasEvents(engine, validation_data(arguments), arguments["validation_freq"], resume, arguments),
        callbacks,
        add_history=True,
        add_progbar=verbose != 0,
        model=arguments["self"],
        verbose=1 if verbose == "auto" else verbose,
        epochs=arguments["epochs"],
        steps=steps_per_epoch(arguments),
    )


class HookedCallbackList(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras ships no types
    """The list that Keras's trainer calls: first callbacks, with the metrics converted, then plugins, with theirs as they are.

    Keras converts the metrics of every batch even if no callback reads them, which is nearly all that its callbacks cost.
    """

    def __init__(self, events: KerasEvents, callbacks: Any, **kwargs: Any) -> None:
        super().__init__(callbacks, **kwargs)
        self.events = events
        # Keras always adds a History, which looks at epochs only.
        self._has_callbacks = any(type(callback) is not keras.callbacks.History for callback in self.callbacks)
        self._latest = _LatestLogs()
        if self._has_callbacks:
            self.callbacks.append(self._latest)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.events.train_begin(self._model, self.params)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.events.before_epoch()
        super().on_epoch_begin(epoch, logs)
        self.events.epoch_begin(epoch)
        # If no callback listens to batches, the session's own methods suffice, whose arguments are all that Keras's loop gives.
        if not self._has_callbacks and type(self._model).fit is keras.Model.fit:
            self.__dict__.update(on_train_batch_begin=self.events.batch_begin, on_train_batch_end=self.events.batch_end)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_train_batch_begin(batch, logs)
        self.events.batch_begin(batch)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_train_batch_end(batch, logs)
        self.events.batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        metrics = Metrics(logs)
        if self._has_callbacks:
            super().on_epoch_end(epoch, logs)
            metrics = Metrics(numeric_logs(self._latest.in_order_of(logs or {})))
        elif metrics.keys() != (logs or {}).keys():  # Keras does not flatten what has several elements
            super().on_epoch_end(epoch, logs)
        else:  # converted once, for plugins too, and in the order that Keras's conversion has
            for history in self.callbacks:
                history.on_epoch_end(epoch, dict(sorted(metrics.items())))
        self.events.epoch_end(epoch, metrics)

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self.events.train_end()

    def on_test_begin(self, logs: Logs = None) -> None:
        super().on_test_begin(logs)
        self.events.evaluate_begin(self._model)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_test_batch_begin(batch, logs)
        self.events.evaluate_batch_begin(batch)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_test_batch_end(batch, logs)
        self.events.evaluate_batch_end(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        super().on_test_end(logs)
        self.events.evaluate_end(logs)


class _LatestLogs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Comes last in a list, and keeps the logs of an epoch's end, to which the callbacks before it have added."""

    logs: Mapping[str, Any]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        del epoch
        self.logs = logs or {}

    def in_order_of(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what it keeps, in the order of `logs`, which Keras sorts."""
        return {name: self.logs[name] for name in (*logs, *self.logs) if name in self.logs}
