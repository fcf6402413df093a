"""hookcore as one Keras callback, for any script that calls `model.fit`."""

from __future__ import annotations

import functools
from collections.abc import Collection  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from hookcore import Engine, Metrics, Plugins, Resume
from hookcore_adapters.keras.callback_states import calling_list
from hookcore_adapters.keras.events import KerasEvents
from hookcore_adapters.keras.light_callback import LightCallback
from hookcore_adapters.keras.mistakes import refuse_callbacks
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore import Run
    from hookcore_adapters.keras.numeric_logs import Logs

P = ParamSpec("P")


def _reporting_errors(
    method: Callable[Concatenate[KerasAdapter, P], None],
) -> Callable[Concatenate[KerasAdapter, P], None]:
    """End the run for every plugin if `method` raises an error, because Keras calls no callback afterwards."""

    def guarded(self: KerasAdapter, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except BaseException as error:
            self.events.failed(error)
            raise

    functools.update_wrapper(guarded, method)
    return guarded


class KerasAdapter(LightCallback):
    """Runs plugins in `model.fit`, `evaluate` and `predict`: `callbacks=[KerasAdapter(plugins)]`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `validation_data` and `validation_freq`: those of `fit`, for plugins that use them, because Keras does not pass them to
      callbacks.
    * `resume`: as in `hookcore_adapters.keras.fit`. The model must be built, and there is no warning if the data have another
      order.

    Other callbacks work as before. List callbacks that change the model or add to the logs before this one: then what they add at
    the end of an epoch becomes metrics, and checkpoints contain their changes. In a resumed run, Keras's own `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` forget what they counted, and a warning names them: use the drop-ins of
    `hookcore_adapters.keras.callbacks`, or plugins.

    Keras converts the metrics of every batch before it calls any callback, and does not report exceptions to callbacks.
    `hookcore_adapters.keras.fit` has neither limit. With this adapter, a run that ends by an exception ends for plugins when the
    next run begins, or at once if a plugin raised the exception.
    """

    def __init__(
        self,
        plugins: Plugins = (),
        *,
        validation_data: Any = None,
        validation_freq: int | Collection[int] = 1,
        resume: Resume = False,
    ) -> None:
        super().__init__()
        self.engine = Engine.of(refuse_callbacks(plugins))
        self.events = KerasEvents(self.engine, validation_data, validation_freq, resume)

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self.engine.run

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.events.states.called_by(calling_list())

    @_reporting_errors
    def on_train_begin(self, logs: Logs = None) -> None:
        del logs
        self.events.prepare(self.model, self.params or {})
        self.prepared()
        self.events.start()

    def prepared(self) -> None:
        """Do nothing; a subclass may act here on a restored run, before it begins for plugins."""

    @_reporting_errors
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self.events.epoch_begin(epoch)

    # Batches do not use `_reporting_errors`, because one more call costs as much as a plugin.
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        del logs
        try:
            self.events.batch_begin(batch)
        except BaseException as error:
            self.events.failed(error)
            raise

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        try:
            self.events.batch_end(batch, logs)
        except BaseException as error:
            self.events.failed(error)
            raise

    @_reporting_errors
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.events.epoch_end(epoch, Metrics(numeric_logs(logs)))

    def on_train_end(self, logs: Logs = None) -> None:
        del logs
        self.events.train_end()

    @_reporting_errors
    def on_test_begin(self, logs: Logs = None) -> None:
        del logs
        self.events.evaluate_begin(self.model)

    @_reporting_errors
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        del logs
        self.events.evaluate_batch_begin(batch)

    @_reporting_errors
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.events.evaluate_batch_end(batch, logs)

    @_reporting_errors
    def on_test_end(self, logs: Logs = None) -> None:
        self.events.evaluate_end(numeric_logs(logs))

    @_reporting_errors
    def on_predict_begin(self, logs: Logs = None) -> None:
        del logs
        self.events.predict_begin(self.model)

    @_reporting_errors
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        del logs
        self.events.predict_batch_begin(batch)

    @_reporting_errors
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        del logs
        self.events.predict_batch_end(batch)

    @_reporting_errors
    def on_predict_end(self, logs: Logs = None) -> None:
        del logs
        self.events.predict_end()
