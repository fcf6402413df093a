"""`fit`: Keras's own `model.fit` with plugins, which sees exceptions and converts metrics only for those who read them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import keras

from hookcore import Metrics, ParameterError
from hookcore.interrupt import DelayedInterrupt
from hookcore_adapters.keras.data import steps_per_epoch, validation_data
from hookcore_adapters.keras.events import KerasEvents, engine_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hookcore import Engine, Run
    from hookcore.resume import Resume

    Logs = Mapping[str, Any] | None


def fit(model: Any, *args: Any, plugins: Iterable[object] | Engine = (), resume: Resume = False, **kwargs: Any) -> Run:
    """Train `model` as `model.fit(*args, **kwargs)` does, with `plugins`, and return the run.

    `plugins` is what `Engine` takes, or an `Engine`. `callbacks` are Keras callbacks, which work as ever and are called after the
    plugins. `verbose` is Keras's progress bar: by default on, unless a plugin shows progress itself.

    `resume="auto"` goes on from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet;
    `resume=path` from that checkpoint, or from the newest in that directory. Give the same model, compiled alike, data and
    `epochs` as before. Weights, optimizer, seeds, plugins and history are restored, and training goes on with the epoch and, on
    TensorFlow, the batch that come next; what can be told of data that come in another order now is said in the log. A
    checkpoint that does not verify or is of another model is refused with `CheckpointError`.

    Plugins see what `fit` was given to validate on (`run.validation_data`) and the exception that ends a run, Ctrl-C
    included, which then goes on to the caller; the run is `engine.run` there. A vote to stop that is given before the first
    batch of an epoch takes effect after it, because Keras looks only then. Ctrl-C takes effect between two batches, a second
    one at once. Raises what Keras and the plugins raise.
    """
    engine = engine_of(plugins)
    # A model may have a `fit` of its own, with more arguments, that calls Keras's.
    signature = inspect.signature(keras.Model.fit)
    given = signature.bind(model, *args, **{name: value for name, value in kwargs.items() if name in signature.parameters})
    more = {name: value for name, value in kwargs.items() if name not in signature.parameters}
    if "verbose" not in given.arguments:
        given.arguments["verbose"] = 0 if engine.shows_progress else "auto"
    complete = signature.bind(*given.args, **given.kwargs)
    complete.apply_defaults()
    given.arguments["callbacks"] = hooked = _hooked(engine, complete.arguments, resume)
    with DelayedInterrupt(hooked.events.interrupt):
        try:
            model.fit(*given.args[1:], **given.kwargs, **more)
        except BaseException as error:
            hooked.events.failed(error)
            raise
    run = engine.run
    assert run is not None  # noqa: S101 - fit began one
    return run


def _hooked(engine: Engine, arguments: Mapping[str, Any], resume: Resume) -> HookedCallbackList:
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
    """The list that Keras's trainer calls: the plugins first, with the metrics as they are, then the callbacks, theirs converted.

    Keras converts the metrics of every batch even where nobody reads them, which is nearly all that its callbacks cost.
    """

    def __init__(self, events: KerasEvents, callbacks: Any, **kwargs: Any) -> None:
        super().__init__(callbacks, **kwargs)
        self.events = events
        # History is always there, and looks at epochs only.
        self._others = any(type(one) is not keras.callbacks.History for one in self.callbacks)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.train_begin(self._model, self.params)
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.epoch_begin(epoch)
        super().on_epoch_begin(epoch, logs)
        # Nobody else hears of batches, and Keras's own loop gives none of the arguments that a session does not take.
        if not self._others and type(self._model).fit is keras.Model.fit:
            self.__dict__.update(on_train_batch_begin=self.events.batch_begin, on_train_batch_end=self.events.batch_end)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.batch_begin(batch)
        if self._others:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks, which have what has happened before Ctrl-C is raised."""
        try:
            self.events.batch_end(batch, logs)
        except KeyboardInterrupt:
            super().on_train_batch_end(batch, logs)
            raise
        if self._others:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks, which have what has happened before Ctrl-C is raised."""
        metrics = Metrics(logs)
        try:
            self.events.epoch_end(epoch, metrics)
        except KeyboardInterrupt:
            super().on_epoch_end(epoch, logs)
            raise
        if self._others or metrics.keys() != (logs or {}).keys():  # Keras does not flatten what has several elements
            super().on_epoch_end(epoch, logs)
        else:  # converted for the plugins already, and in the order that Keras's conversion has
            for history in self.callbacks:
                history.on_epoch_end(epoch, dict(sorted(metrics.items())))

    def on_train_end(self, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.train_end()
        super().on_train_end(logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.evaluate_begin(self._model)
        super().on_test_begin(logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.evaluate_batch_begin(batch)
        if self._others:
            super().on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.evaluate_batch_end(batch, logs)
        if self._others:
            super().on_test_batch_end(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.evaluate_end(logs)
        super().on_test_end(logs)
