"""The base of callbacks whose state `BackupAndRestore` saves and restores."""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any, Final, Self

import keras

from hookcore_adapters.keras.callback_states import named
from hookcore_adapters.keras.light_callback import LightCallback
from hookcore_adapters.keras.mistakes import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CALLBACKS_OF_MODEL: Final[weakref.WeakKeyDictionary[Any, list[weakref.ref[StatefulCallback]]]] = weakref.WeakKeyDictionary()
"""The callbacks of each model in their order in `fit`, because Keras does not pass callbacks the list."""


class StatefulCallback(LightCallback):
    """A callback that finds the others of this package in its `fit`, and whose state `BackupAndRestore` saves."""

    afterwards: Callable[[], None] | None = None
    """Called once, after this callback's next `on_train_batch_end` or `on_epoch_end`."""

    _held: Any = None
    """The model until training ends, because a script may not keep it.

    An object that only stands in for a model, as in Keras's own tests, is kept longer.
    """

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Make a callback. Raises `KeywordError` that suggests the nearest keyword for one that `__init__` lacks."""
        refuse_unknown(cls.__name__, given, inspect.signature(cls.__init__))
        return super().__new__(cls)  # type: ignore[no-any-return]  # Keras ships no types

    def set_model(self, model: Any) -> None:
        # Keras calls this for each callback before training begins.
        super().set_model(model)
        self._held = model
        others = [reference for reference in _CALLBACKS_OF_MODEL.get(model, []) if reference() not in {None, self}]
        _CALLBACKS_OF_MODEL[model] = [*others, weakref.ref(self)]
        self.afterwards = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        self.run_afterwards()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.run_afterwards()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        if isinstance(self._held, keras.Model):
            self._held = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": None}

    def callbacks_of_fit(self) -> list[StatefulCallback]:
        """Return the callbacks of the same `fit`, in order, including this one."""
        callbacks = [reference() for reference in _CALLBACKS_OF_MODEL.get(self.model, [])]
        # Keras passes the same dict to all callbacks of a fit.
        return [callback for callback in callbacks if callback is not None and callback.params is self.params]

    def named_callbacks(self) -> dict[str, StatefulCallback]:
        """Return the callbacks of the same `fit` that have state, by names that are the same in a restarted process."""
        return named(self.callbacks_of_fit())

    def state_dict(self) -> Mapping[str, Any] | None:
        """Return the state to save, or None for a callback without state."""
        return None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state`, which `state_dict` returned before the restart, in the `fit` that begins now."""

    def run_afterwards(self) -> None:
        """Call `afterwards`, if it is set."""
        function, self.afterwards = self.afterwards, None
        if function is not None:
            function()
