"""Keras's list of callbacks, changed so that it calls plugins after all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import keras

from hookcore import HookcoreError, Metrics
from hookcore_adapters.keras.callback_states import calling_list
from hookcore_adapters.keras.light_callback import LightCallback
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore_adapters.keras.events import KerasEvents
    from hookcore_adapters.keras.numeric_logs import Logs


class LastCallback(LightCallback):
    """Makes Keras's list of callbacks call plugins after all callbacks, whatever its own position in the list.

    Tools that patch `Model.fit` iterate over the callbacks, and copy and extend their list. So `fit` passes a plain list, in
    which this callback stands for the plugins, and Keras makes its own list, including what others have added.
    """

    def __init__(self, events: KerasEvents) -> None:
        super().__init__()
        self.events = events
        self.is_in_use = False
        """Whether Keras has made its list, which now calls plugins."""
        self._logs: Mapping[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Move to the end of the list that is calling this method, and make it call plugins."""
        super().set_model(model)
        called_by = calling_list()
        if called_by is None:
            raise HookcoreError(
                "fit: set_model of the callbacks was not called by a keras.callbacks.CallbackList, without which no plugin runs."
            )
        self.events.states.called_by(called_by)
        # A new list, because the trainer is iterating over the present one.
        called_by.callbacks = [callback for callback in called_by.callbacks if callback is not self] + [self]
        if not isinstance(called_by, HookedCallbackList):
            kind = type(called_by)
            called_by.__class__ = type("HookedCallbackList", (HookedCallbackList, kind), {})
            called_by.last = self
        self.is_in_use = True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keep the logs, which the callbacks before this one may have extended."""
        del epoch
        self._logs = logs or {}

    def logs_in_order_of(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the logs of the latest end of an epoch, in the order of `logs`, because Keras sorts them."""
        return {name: self._logs[name] for name in (*logs, *self._logs) if name in self._logs}

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself, because a copy of the list of callbacks runs the same plugins."""
        return self


class HookedCallbackList(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras ships no types
    """Keras's list, changed by `LastCallback` to call plugins after callbacks, or before them at the end of training.

    Keras converts the metrics of every batch even if no callback reads them, which is most of the cost of its callbacks. Without
    callbacks, that conversion is left out.
    """

    last: LastCallback
    _has_callbacks = True

    def on_train_begin(self, logs: Logs = None) -> None:
        self.last.events.prepare(self._model, self.params)
        super().on_train_begin(logs)
        self.last.events.start()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        events = self.last.events
        events.before_epoch()
        super().on_epoch_begin(epoch, logs)
        events.epoch_begin(epoch)
        # Keras always adds a History, which needs only epochs.
        self._has_callbacks = any(type(one) not in {keras.callbacks.History, LastCallback} for one in self.callbacks)
        # Without other callbacks, Keras's loop calls the session's methods directly: they take the same arguments.
        if not self._has_callbacks and type(self._model).fit is keras.Model.fit:
            self.__dict__.update(on_train_batch_begin=events.batch_begin, on_train_batch_end=events.batch_end)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks and not self.last.events.is_skipping:
            super().on_train_batch_begin(batch, logs)
        self.last.events.batch_begin(batch)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks and not self.last.events.is_skipping:
            super().on_train_batch_end(batch, logs)
        self.last.events.batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        metrics = Metrics(logs)
        if self._has_callbacks:
            self.last.events.epoch_ends()
            super().on_epoch_end(epoch, logs)
            metrics = Metrics(numeric_logs(self.last.logs_in_order_of(logs or {})))
        elif metrics.keys() != (logs or {}).keys():  # values with several elements, which Keras does not flatten
            super().on_epoch_end(epoch, logs)
        else:  # converted once, for plugins too, and in the same order as by Keras
            for history in self.callbacks:
                history.on_epoch_end(epoch, dict(sorted(metrics.items())))
        self.last.events.epoch_end(epoch, metrics)

    def on_train_end(self, logs: Logs = None) -> None:
        self.last.events.train_end()  # first, because a plugin may restore the best weights
        super().on_train_end(logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        super().on_test_begin(logs)
        self.last.events.evaluate_begin(self._model)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_test_batch_begin(batch, logs)
        self.last.events.evaluate_batch_begin(batch)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._has_callbacks:
            super().on_test_batch_end(batch, logs)
        self.last.events.evaluate_batch_end(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        super().on_test_end(logs)
        self.last.events.evaluate_end(logs)
