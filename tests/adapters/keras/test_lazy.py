"""Metrics stay on the device until they are read, so JAX and PyTorch do not wait for a batch."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from hookcore import Run, hookimpl
from hookcore_adapters.keras import fit
from hookcore_plugins import EarlyStopping
from tests.adapters.keras.backends import BACKEND, only_on

BATCHES = 300


class Quiet:
    """A plugin that reads no metrics of batches, and records the length of `found` before and after an epoch's batches."""

    def __init__(self, found: list[float]) -> None:
        self.batches = 0
        self.found = found
        self.found_at: list[int] = []
        self.found_at_end = 0

    @hookimpl
    def on_batch_begin(self, batch: int) -> None:
        assert batch == self.batches
        if batch == 0:
            self.found_at.append(len(self.found))

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        assert run.progress.step == self.batches
        if self.batches == BATCHES:
            self.found_at.append(len(self.found))

    @hookimpl
    def on_train_end(self) -> None:
        self.found_at_end = len(self.found)  # on PyTorch, Keras's own list converts them again for callbacks


class Reading:
    """A plugin that reads one metric of each batch."""

    @hookimpl
    def on_batch_end(self, metrics: Any) -> None:
        assert metrics["loss"] >= 0


def readings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the values of float tensors that are converted to Python, with NaN for each wait."""
    if BACKEND == "jax":
        from jax._src.array import ArrayImpl as Tensor
    else:
        from torch import Tensor
    found: list[float] = []
    within: list[str] = []

    def counting(name: str, method: Any) -> Any:
        def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            if within or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(self.dtype)):
                return method(self, *args, **kwargs)
            within.append(name)
            try:
                value = method(self, *args, **kwargs)
                found.append(math.nan if name == "block_until_ready" else float(np.ravel(value)[0]))
            finally:
                within.pop()
            return value

        return counted

    for name in ("__array__", "__bool__", "__float__", "__int__", "block_until_ready", "cpu", "item", "numpy", "tolist"):
        if hasattr(Tensor, name):
            monkeypatch.setattr(Tensor, name, counting(name, getattr(Tensor, name)))
    if BACKEND == "jax":
        monkeypatch.setattr(Tensor, "_value", property(counting("_value", Tensor._value.fget)))
    return found


@pytest.fixture
def compiled() -> Any:
    """Return a model that has trained, so that everything is built."""
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.ones((2, 3), "float32"), np.ones((2, 1), "float32"), batch_size=1, verbose=0)
    return model


@only_on("jax", "torch", what="a count of what Keras's trainer itself does not convert")
@pytest.mark.parametrize("plugins", [(), (EarlyStopping("loss"),)], ids=["no other plugin", "one that reads an epoch's metrics"])
def test_an_epochs_metrics_are_converted_once(compiled: Any, plugins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 300 batches the loss and the metric are converted once each, at the end, without waiting for the device before."""
    x, y = np.random.default_rng(7).normal(size=(BATCHES, 3)).astype("float32"), np.ones((BATCHES, 1), "float32")
    found = readings(monkeypatch)
    quiet = Quiet(found)
    run = fit(compiled, x, y, batch_size=1, verbose=0, plugins=[quiet, *plugins])
    assert quiet.batches == BATCHES
    before, after = quiet.found_at
    assert before == after, found[before:after]
    metrics = {run.history["loss"][0], run.history["mae"][0]}
    assert len([value for value in found[: quiet.found_at_end] if value in metrics]) <= len(metrics) == 2


@only_on("jax", "torch", what="a count of what Keras's trainer itself does not convert")
def test_only_what_is_read_is_converted(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a plugin reads one of two metrics in each batch, only that one is converted."""
    x, y = np.random.default_rng(7).normal(size=(BATCHES, 3)).astype("float32"), np.ones((BATCHES, 1), "float32")
    found = readings(monkeypatch)
    fit(compiled, x, y, batch_size=1, verbose=0, plugins=[Reading()])
    assert BATCHES <= len(found) < 2 * BATCHES
