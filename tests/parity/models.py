"""Tiny real models, and trainings that an exception ends."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import keras
import numpy as np

X: Final = np.linspace(-1, 1, 24, dtype="float32").reshape(8, 3)
Y: Final = X.sum(axis=1, keepdims=True)


def tiny(**more: Any) -> Any:
    """Return a real model, whose optimizer counts its batches."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", "run_eagerly": True} | more)
    return model


class Breaks(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends training by an exception, like a crash, after a number of batches or before an epoch."""

    def __init__(self, *, batches: int | None = None, epoch: int | None = None) -> None:
        super().__init__()
        self.left = batches
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        if epoch == self.epoch:
            raise RuntimeError

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise RuntimeError


def trained(model: Any, callbacks: list[Any], *, epochs: int = 4, **more: Any) -> list[tuple[int, int]]:
    """Train, and return the epochs and batches of `model.fit`, up to an exception."""
    seen: list[tuple[int, int]] = []
    place = {"epoch": -1}
    see = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, _: place.update(epoch=epoch),
        # A batch that is skipped has no logs.
        on_train_batch_end=lambda batch, logs: seen.extend([(place["epoch"], batch)] if logs else []),
    )
    with contextlib.suppress(RuntimeError):
        model.fit(X, Y, **{"epochs": epochs, "batch_size": 4, "verbose": 0, "shuffle": False} | more, callbacks=[*callbacks, see])
    return seen
