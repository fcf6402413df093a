"""With `mode="auto"`, the drop-ins know before training the directions that Keras knows after the first epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from tests.parity.protocol import drop_in, stock

if TYPE_CHECKING:
    from collections.abc import Iterator

Y = np.ones((2, 3), "float32")


def _known() -> Iterator[Any]:
    """Return each Keras metric that needs no arguments, by name and as an object."""
    for name in sorted(dir(keras.metrics)):
        metric = getattr(keras.metrics, name)
        if isinstance(metric, type) and issubclass(metric, keras.metrics.Metric):
            try:
                metric()
            except TypeError:
                continue
            yield pytest.param(name, id=name)
            yield pytest.param(metric(name=f"my_{name}"), id=f"my_{name}")
    short = ["accuracy", "acc", "mse", "MSE", "mae", "mape", "msle", "cosine_similarity", "binary_crossentropy", "kl_divergence"]
    yield from (pytest.param(name, id=name) for name in short)


@pytest.mark.parametrize("metric", list(_known()))
def test_a_known_direction_is_the_same(metric: Any) -> None:
    """Every direction that Keras finds in the built metrics is known to the drop-in before training."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(loss="mse", metrics=[metric])
    ours = drop_in("EarlyStopping", "unknown")
    ours.set_model(model)
    model._compile_metrics.build(Y, Y)
    monitor = f"val_{model._compile_metrics.metrics[0].name}"
    theirs = stock("EarlyStopping", monitor)
    theirs.set_model(model)
    try:
        theirs._set_monitor_op()
    except ValueError:
        pytest.skip("Keras does not know")
    model.compile(loss="mse", metrics=[metric])  # as before the first batch
    ours.monitor = monitor
    ours.on_train_begin()
    assert ours.monitor_op is theirs.monitor_op
