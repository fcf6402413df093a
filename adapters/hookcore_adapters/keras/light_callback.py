"""A Keras callback that does not keep its model in memory."""

from __future__ import annotations

import weakref
from typing import Any

import keras


class LightCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """A callback that refers to its model weakly, and is pickled and copied without it."""

    _reference: weakref.ref[Any] | None = None

    @property
    def _model(self) -> Any:
        return None if self._reference is None else self._reference()

    @_model.setter
    def _model(self, model: Any) -> None:  # Keras's `set_model` assigns to it
        self._reference = None if model is None else weakref.ref(model)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_reference": None}
