"""hookcore as one Keras callback, for any script that calls `model.fit` itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import keras

from hookcore import Metrics
from hookcore_adapters.keras.events import KerasEvents, engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hookcore import Engine, Run
    from hookcore.resume import Resume

    Logs = Mapping[str, Any] | None

P = ParamSpec("P")


def _reporting_errors(
    method: Callable[Concatenate[KerasAdapter, P], None],
) -> Callable[Concatenate[KerasAdapter, P], None]:
    """An error that a plugin raised ends the run for the others too: Keras calls nobody after it."""

    def guarded(self: KerasAdapter, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except BaseException as error:
            self.events.failed(error)
            raise

    functools.update_wrapper(guarded, method)
    return guarded


class KerasAdapter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Runs plugins in `model.fit`, `evaluate` and `predict`: `callbacks=[KerasAdapter(plugins)]`.

    `plugins` is what `Engine` takes, or an `Engine`. Other callbacks beside it work as ever. Keras converts the metrics of
    every batch before it calls any callback, and tells none of an exception: `hookcore_adapters.keras.fit` does better in
    both. Here a run that an exception ended is ended for the plugins when the next one begins, except where a plugin raised it.

    `validation_data` and `validation_freq` are those of `fit`, for plugins that look at them: Keras does not pass them on.
    `resume` is that of `hookcore_adapters.keras.fit`; the model must be built, and nothing is known of the order of its data.
    """

    def __init__(
        self,
        plugins: Iterable[object] | Engine = (),
        *,
        validation_data: Any = None,
        validation_freq: int | Collection[int] = 1,
        resume: Resume = False,
    ) -> None:
        super().__init__()
        self.engine = engine_of(plugins)
        self.events = KerasEvents(self.engine, validation_data, validation_freq, resume)

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self.engine.run

    @_reporting_errors
    def on_train_begin(self, logs: Logs = None) -> None:
        """Begin a run."""
        del logs
        self.events.train_begin(self.model, self.params or {})

    @_reporting_errors
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.epoch_begin(epoch)

    # Not `_reporting_errors` here: a call more costs as much as a plugin.
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        try:
            self.events.batch_begin(batch)
        except BaseException as error:
            self.events.failed(error)
            raise

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        try:
            self.events.batch_end(batch, logs)
        except BaseException as error:
            self.events.failed(error)
            raise

    @_reporting_errors
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Pass it on."""
        self.events.epoch_end(epoch, Metrics(logs))

    def on_train_end(self, logs: Logs = None) -> None:
        """End the run."""
        del logs
        self.events.train_end()

    @_reporting_errors
    def on_test_begin(self, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.evaluate_begin(self.model)

    @_reporting_errors
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.evaluate_batch_begin(batch)

    @_reporting_errors
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        self.events.evaluate_batch_end(batch, logs)

    @_reporting_errors
    def on_test_end(self, logs: Logs = None) -> None:
        """Pass it on."""
        self.events.evaluate_end(logs)

    @_reporting_errors
    def on_predict_begin(self, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.predict_begin(self.model)

    @_reporting_errors
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.predict_batch_begin(batch)

    @_reporting_errors
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.predict_batch_end(batch)

    @_reporting_errors
    def on_predict_end(self, logs: Logs = None) -> None:
        """Pass it on."""
        del logs
        self.events.predict_end()
