"""`KerasTrainee`: snapshots, files and directions of real models, compared bit for bit."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import pytest

from hookcore import HookcoreError
from hookcore_adapters.keras import KerasTrainee
from hookcore_adapters.keras.snapshot import KerasSnapshot
from tests.adapters.keras.backends import SEVERAL_STEPS, only_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD with momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(0.1),
    "Adam with averaged weights": lambda: keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    "scaled losses": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0),
}


def layered(optimizer: Any, **kwargs: Any) -> Any:
    """Return a model with weights that gradients do not change, and with random layers."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer, "binary_crossentropy", **kwargs or {"run_eagerly": True})
    return model


def values(model: Any) -> list[Any]:
    """Return copies of everything that a checkpoint must hold."""
    return [np.array(variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]


def equal(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Return whether the values are equal bit for bit."""
    return len(ours) == len(theirs) and all(our.tobytes() == their.tobytes() for our, their in zip(ours, theirs, strict=True))


@pytest.fixture(params=OPTIMIZERS)
def trained(request: pytest.FixtureRequest, data: Any) -> Any:
    """Return a model after two updates, for each optimizer."""
    model = layered(OPTIMIZERS[request.param]())
    model.fit(*data, batch_size=12, verbose=0)
    return model


def train_on(model: Any, data: Any) -> None:
    """Make two more updates, which change every float."""
    model.fit(*data, batch_size=12, verbose=0)


def test_restore_puts_back_what_the_snapshot_holds(trained: Any, data: Any) -> None:
    """Further training does not change a snapshot, and restoring it restores weights, seeds and optimizer."""
    trainee, before = KerasTrainee(trained), values(trained)
    snapshot = trainee.snapshot()
    train_on(trained, data)
    assert not equal(values(trained), before)
    trainee.restore(snapshot)
    assert equal(values(trained), before)
    train_on(trained, data)
    trainee.restore(snapshot)
    assert equal(values(trained), before), "a snapshot can be restored again"


def embedding(optimizer: Any, **kwargs: Any) -> Any:
    """Return a model with sparse gradients, and its data."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential([layers.Input((2,)), layers.Embedding(9, 2), layers.Flatten(), layers.Dense(1)])
    model.compile(optimizer, "mse", **kwargs)
    return model


WAYS: dict[str, dict[str, Any]] = {
    "eagerly": {"run_eagerly": True},
    "compiled": {"jit_compile": False},
    "compiled by XLA": {"jit_compile": True},
    "by threes": {"jit_compile": False, "steps_per_execution": 3},
}
NEEDS: Final = {"compiled by XLA": only_on("tensorflow", "jax", what="XLA"), "by threes": SEVERAL_STEPS}


@pytest.mark.parametrize("way", [pytest.param(way, marks=NEEDS.get(way, ())) for way in WAYS])
@pytest.mark.parametrize("kind", [*OPTIMIZERS, "sparse gradients"])
def test_training_on_does_not_change_a_snapshot(data: Any, kind: str, way: str) -> None:
    """Snapshots after each execution are unchanged at the end, however the model trains."""
    if kind == "sparse gradients":
        model, x = embedding(keras.optimizers.SGD(0.1, momentum=0.9), **WAYS[way]), (abs(data[0][:, :2]) * 3).astype("int32")
    else:
        model, x = layered(OPTIMIZERS[kind](), **WAYS[way]), data[0]
    trainee, taken = KerasTrainee(model), list[tuple[KerasSnapshot, list[Any]]]()

    def take(batch: int, logs: Any) -> None:
        del batch, logs
        snapshot = trainee.snapshot()
        taken.append((snapshot, [np.array(value) for value in snapshot.values]))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=take)
    model.fit(x, data[1], batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    trainee.restore(taken[1][0])
    model.fit(x, data[1], batch_size=4, verbose=0)
    assert not equal(taken[-1][1], taken[0][1])
    for snapshot, then in taken:
        assert equal([np.array(value) for value in snapshot.values], then)


def test_a_snapshot_holds_the_random_numbers(data: Any) -> None:
    """Restoring a snapshot repeats the random numbers of layers, Python and NumPy, unless it holds only weights."""
    trainee = KerasTrainee(layered("sgd"))

    def draw() -> tuple[float, float, float]:
        of_layers = keras.ops.convert_to_numpy(keras.ops.sum(trainee.model(data[0], training=True)))
        return random.random(), np.random.random(), float(of_layers)  # noqa: NPY002, S311

    snapshot = trainee.snapshot()
    drawn = [draw() for _ in range(3)]
    trainee.restore(snapshot)
    assert [draw() for _ in range(3)] == drawn
    weights = trainee.snapshot(optimizer=False)
    before = draw()
    trainee.restore(weights)
    assert len({*draw(), *before}) == 6


def test_training_continues_from_a_snapshot_as_before(data: Any) -> None:
    """After a snapshot is restored, the same batches lead to the same weights again."""
    model = layered(keras.optimizers.Adam(0.1))
    train_on(model, data)
    snapshot = KerasTrainee(model).snapshot()
    ends = []
    for _ in range(2):
        KerasTrainee(model).restore(snapshot)
        model.fit(*data, batch_size=12, shuffle=False, verbose=0)
        ends.append(values(model))
    assert equal(*ends)


def test_a_snapshot_may_leave_the_optimizer_alone(data: Any) -> None:
    """`snapshot(optimizer=False)` holds only the weights, and restoring it does not change the optimizer."""
    model = layered(keras.optimizers.Adam(0.1))
    train_on(model, data)
    weights = model.get_weights()
    snapshot = KerasTrainee(model).snapshot(optimizer=False)
    train_on(model, data)
    optimizer = [variable.numpy().copy() for variable in model.optimizer.variables]
    KerasTrainee(model).restore(snapshot)
    assert equal(model.get_weights(), weights)
    assert equal([variable.numpy() for variable in model.optimizer.variables], optimizer)
    assert snapshot.weights_only


class Rounded(keras.Sequential):  # type: ignore[misc]  # Keras ships no types
    """A model that overrides its weights: only the last ones, in tenths."""

    def get_weights(self) -> list[Any]:
        return [np.round(weight * 10) for weight in super().get_weights()[-2:]]

    def set_weights(self, weights: list[Any]) -> None:
        super().set_weights([*super().get_weights()[:-2], *(weight / 10 for weight in weights)])


def test_the_weights_are_what_the_model_says_they_are(data: Any, tmp_path: Path) -> None:
    """Snapshots of weights use overridden `get_weights` and `set_weights`, as Keras's callbacks do."""
    model = Rounded([keras.layers.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    trainee = KerasTrainee(model)
    snapshot, before = trainee.snapshot(optimizer=False), model.get_weights()
    assert equal(snapshot.values, before)
    trainee.write(snapshot, tmp_path)
    for kept in (snapshot, trainee.read(tmp_path)):
        model.fit(*data, epochs=9, verbose=0)
        assert not equal(model.get_weights(), before)
        trainee.restore(kept)
        assert equal(model.get_weights(), before)


def test_a_snapshot_from_before_the_first_batch_is_whole(data: Any) -> None:
    """A snapshot from before the first update, at which an optimizer makes its variables, restores all of them."""
    model = layered(keras.optimizers.Adam(0.1))
    trainee = KerasTrainee(model)
    snapshot = trainee.snapshot()
    before = values(model)
    train_on(model, data)
    trainee.restore(snapshot)
    assert equal(values(model), before)
    assert trainee.counts == (0, 0)


def test_a_snapshot_of_another_model_is_refused(data: Any) -> None:
    """Restoring a snapshot of another model is an error, and the model is not changed halfway."""
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile("sgd", "mse", run_eagerly=True)
    snapshot = KerasTrainee(unbuilt).snapshot()
    train_on(unbuilt, data)
    weights = unbuilt.get_weights()
    with pytest.raises(HookcoreError, match=r"holds 2 values and the model has 4.*before this one was built"):
        KerasTrainee(unbuilt).restore(snapshot)
    assert equal(unbuilt.get_weights(), weights)


def test_the_learning_rate_is_the_optimizers(data: Any) -> None:
    """Reading and setting the rate reaches the optimizer, also inside a wrapper that scales losses."""
    for optimizer in (keras.optimizers.SGD(0.5), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))):
        trainee = KerasTrainee(layered(optimizer))
        assert trainee.lacks("learning_rate") is None
        assert trainee.learning_rate == 0.5
        trainee.learning_rate = 0.25
        assert float(trainee.model.optimizer.learning_rate) == 0.25
        train_on(trainee.model, data)
        assert trainee.learning_rate == 0.25


def test_a_schedules_rate_can_be_read(data: Any) -> None:
    """The rate of a schedule can be read, and follows the steps."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    trainee = KerasTrainee(layered(keras.optimizers.SGD(schedule)))
    assert trainee.learning_rate == 0.5
    train_on(trainee.model, data)
    assert trainee.learning_rate == 0.25


def closeness(labels: Any, predictions: Any) -> Any:
    """Return a user's metric, whose direction Keras does not know."""
    return 1.0 - keras.ops.abs(labels - predictions)


@pytest.mark.parametrize("trained_before", [False, True], ids=["new", "trained"])
@pytest.mark.parametrize(
    ("metrics", "name", "direction"),
    [
        (["acc"], "acc", "max"),
        (["acc"], "val_acc", "max"),
        (["acc"], "loss", "min"),
        (["acc"], "val_loss", "min"),
        (["acc"], "accuracy", None),
        (["mse"], "val_mse", "min"),
        (["AUC"], "AUC", "max"),
        ([keras.metrics.AUC(name="pr")], "val_pr", "max"),
        ([keras.metrics.MeanSquaredError(name="gap")], "gap", "min"),
        ([keras.metrics.MeanSquaredError(name="gap")], "val_gap_more", None),
        ([keras.metrics.Mean(name="average")], "average", None),
        ([closeness], "closeness", None),
        ({"out": ["acc", keras.metrics.Precision(name="p")]}, "val_p", "max"),
        (None, "acc", None),
    ],
)
def test_the_direction_is_the_compiled_metrics(
    data: Any, metrics: Any, name: str, direction: str | None, *, trained_before: bool
) -> None:
    """Before and after the first batch, a loss is `min`, a compiled metric has the declared direction, and others give None."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="out")(inputs))
    model.compile("sgd", "mse", metrics=metrics, run_eagerly=True)
    if trained_before and name != "average":  # Keras cannot train with Mean, which takes no labels
        model.fit(*data, batch_size=24, verbose=0)
    assert KerasTrainee(model).direction(name) == direction
