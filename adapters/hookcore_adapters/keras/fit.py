"""`fit`: Keras's own `model.fit` with plugins, which sees exceptions and converts metrics only for those who read them."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import keras

from hookcore import ParameterError
from hookcore_adapters.keras.events import KerasEvents, engine_of
from hookcore_adapters.keras.interrupt import DelayedInterrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hookcore import Engine, Run

    Logs = Mapping[str, Any] | None


def fit(model: Any, *args: Any, plugins: Iterable[object] | Engine = (), **kwargs: Any) -> Run:
    """Train `model` as `model.fit(*args, **kwargs)` does, with `plugins`, and return the run.

    `plugins` is what `Engine` takes, or an `Engine`. `callbacks` are Keras callbacks, which work as ever and are called after the
    plugins. `verbose` is Keras's progress bar: by default on, unless a plugin shows progress itself.

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
        given.arguments["verbose"] = 0 if any(getattr(one.plugin, "shows_progress", False) for one in engine.plugins) else "auto"
    complete = signature.bind(*given.args, **given.kwargs)
    complete.apply_defaults()
    given.arguments["callbacks"] = hooked = _hooked(engine, complete.arguments)
    with hooked.interrupt:
        try:
            model.fit(*given.args[1:], **given.kwargs, **more)
        except BaseException as error:
            hooked.events.failed(error)
            raise
    run = engine.run
    assert run is not None  # noqa: S101 - fit began one
    return run


def _hooked(engine: Engine, arguments: Mapping[str, Any]) -> HookedCallbackList:
    callbacks, verbose = arguments["callbacks"], arguments["verbose"]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        msg = "fit: callbacks must be a list of callbacks, got a CallbackList: fit makes its own."
        raise ParameterError(msg)
    return HookedCallbackList(
        KerasEvents(engine, _validation_data(arguments), arguments["validation_freq"]),
        callbacks,
        add_history=True,
        add_progbar=verbose != 0,
        model=arguments["self"],
        verbose=1 if verbose == "auto" else verbose,
        epochs=arguments["epochs"],
        steps=_steps_per_epoch(arguments),
    )


class HookedCallbackList(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras ships no types
    """The list that Keras's trainer calls: the plugins first, with the metrics as they are, then the callbacks, theirs converted.

    Keras converts the metrics of every batch even where nobody reads them, which is nearly all that its callbacks cost.
    """

    def __init__(self, events: KerasEvents, callbacks: Any, **kwargs: Any) -> None:
        super().__init__(callbacks, **kwargs)
        self.events = events
        self.interrupt = DelayedInterrupt()
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
        self.interrupt.check()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.batch_begin(batch)
        if self._others:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.batch_end(batch, logs)
        if self._others:
            super().on_train_batch_end(batch, logs)
        self.interrupt.check()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.epoch_end(epoch, logs)
        super().on_epoch_end(epoch, logs)
        self.interrupt.check()

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
        self.interrupt.check()

    def on_test_end(self, logs: Logs = None) -> None:
        """Plugins, then callbacks."""
        self.events.evaluate_end(logs)
        super().on_test_end(logs)


def _steps_per_epoch(arguments: Mapping[str, Any]) -> int | None:
    """The number of batches in an epoch, as Keras will count them, or None where only the first epoch can tell."""
    data, steps = arguments["x"], arguments["steps_per_epoch"]
    if steps:
        return int(steps)
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches  # type: ignore[no-any-return]
    if hasattr(data, "cardinality"):  # tf.data: negative for unknown and for infinite
        cardinality = int(data.cardinality())
        return cardinality if cardinality >= 0 else None
    samples = _samples(data)
    if samples is not None:
        if arguments["validation_data"] is None:
            samples = _split_at(samples, arguments["validation_split"])
        return math.ceil(samples / (arguments["batch_size"] or 32))
    return len(data) if hasattr(data, "__len__") else None


def _validation_data(arguments: Mapping[str, Any]) -> Any:
    """What was given to validate on, or the part that `validation_split` takes off the end of the data."""
    data, fraction = arguments["validation_data"], arguments["validation_split"]
    samples = _samples(arguments["x"])
    if data is not None or not fraction or samples is None:
        return data
    at = _split_at(samples, fraction)
    parts = [arguments["x"], arguments["y"], arguments["sample_weight"]]
    while parts[-1] is None:
        parts.pop()

    def tail(part: Any) -> Any:
        return None if part is None else getattr(part, "iloc", part)[at:]  # iloc: pandas takes numbers for labels

    try:
        return keras.tree.map_structure(tail, tuple(parts))
    except TypeError:  # Keras can split sparse tensors, which have no slices of their own
        return None


def _samples(data: Any) -> int | None:
    """The number of samples in arrays, or None where `data` is none."""
    leaves: Sequence[Any] = keras.tree.flatten(data) if data is not None else []
    shape = getattr(leaves[0], "shape", None) if leaves else None
    return int(shape[0]) if shape is not None and len(shape) else None


def _split_at(samples: int, fraction: float) -> int:
    return math.floor(samples * (1.0 - fraction)) if fraction else samples
