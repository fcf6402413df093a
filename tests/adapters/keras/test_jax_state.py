"""Plugins and checkpoints get the values that Keras's trainer on JAX holds, and reading a counter needs no sync."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import Preempted, Run, hookimpl
from hookcore_adapters.keras import fit
from hookcore_plugins import Checkpoint, Preemption
from tests.adapters.keras.backends import only_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X, Y = np.ones((24, 3), "float32"), np.zeros((24, 1), "float32")
ARGUMENTS: dict[str, Any] = {"batch_size": 6, "epochs": 2, "verbose": 0}
DECAY = keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.5)
JAX = only_on("jax", what="a trainer that keeps the values to itself")


def new(**compile_arguments: Any) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse"} | compile_arguments)
    return model


def seen_in_batches(look: Callable[[Run], Any], **compile_arguments: Any) -> list[Any]:
    seen = []

    class Looking:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            seen.append(look(run))

    fit(new(**compile_arguments), X, Y, plugins=[Looking()], **ARGUMENTS)
    return seen


def test_the_model_has_the_weights_of_the_batch() -> None:
    """In a batch's hook, `run.model` has the weights of that batch, can evaluate, and continues training."""
    losses = seen_in_batches(lambda run: run.model.evaluate(X, Y, verbose=0))
    assert len(losses) == 8
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 8


def test_what_a_plugin_does_to_the_model_stays() -> None:
    """A learning rate that a plugin sets on `run.model.optimizer` is used in the next batch."""

    def halve(run: Run) -> float:
        run.model.optimizer.learning_rate = float(keras.ops.convert_to_numpy(run.model.optimizer.learning_rate)) / 2
        return run.learning_rate or 0.0

    assert seen_in_batches(halve) == pytest.approx([0.1 / 2**n for n in range(1, 9)])


def test_the_model_evaluates_itself_outside_of_training() -> None:
    """`run.model` can also be used in the hooks of an evaluation."""
    seen = []

    class Looking:
        @hookimpl
        def on_evaluate_batch_end(self, run: Run) -> None:
            seen.append(run.model.predict(X[:1], verbose=0).shape)

    fit(new(), X, Y, plugins=[Looking()], validation_data=(X, Y), **ARGUMENTS)
    assert set(seen) == {(1, 1)}


@JAX
@pytest.mark.parametrize(
    ("arguments", "steps", "last_rate"),
    [
        (dict, 8, 0.1),
        (lambda: {"steps_per_execution": 2}, 8, 0.1),
        (lambda: {"optimizer": keras.optimizers.SGD(DECAY, gradient_accumulation_steps=2)}, 4, 0.1 / 4),
    ],
    ids=["a batch", "an execution of two", "a schedule and an accumulation"],
)
def test_steps_and_rates_are_read_without_a_sync(
    monkeypatch: pytest.MonkeyPatch, arguments: Callable[[], dict[str, Any]], steps: int, last_rate: float
) -> None:
    """Counting updates and reading the learning rate in each batch never copies all values back to the model."""
    syncs = []
    own = keras.Model.jax_state_sync

    def counting(model: Any) -> None:
        syncs.append(model)
        own(model)

    monkeypatch.setattr(keras.Model, "jax_state_sync", counting)
    new(**arguments()).fit(X, Y, **ARGUMENTS)
    of_keras = len(syncs)
    syncs.clear()
    seen = seen_in_batches(lambda run: (run.progress.step, run.learning_rate), **arguments())
    assert len(syncs) == of_keras
    assert seen[-1] == (steps, pytest.approx(last_rate))


def averaging() -> Any:
    return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)


def trained_weights(batches: int) -> np.ndarray[Any, Any]:
    """Return the weights after some batches, without Keras's changes at the end."""
    model = new(optimizer=keras.optimizers.SGD(0.1))
    for _ in range(batches):
        model.train_on_batch(X[:6], Y[:6])
    return np.asarray(model.get_weights()[0])


class Stopping(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Raises Ctrl-C in Keras's code, like a second Ctrl-C."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del logs
        if batch == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["a plugin's hook", "a signal", "a callback"])
def test_a_checkpoint_of_a_cut_run_has_the_trained_weights(tmp_path: Path, where: str) -> None:
    """A checkpoint of an interrupted run has the trained weights, not the averages that Keras on JAX sets before `fit` raises."""

    class Interrupting:
        @hookimpl
        def on_batch_end(self, run: Run, batch: int) -> None:
            if batch == 2 and where == "a plugin's hook":
                run.interrupt(KeyboardInterrupt())
            if batch == 2 and where == "a signal":
                os.kill(os.getpid(), signal.SIGTERM)

    callbacks = [Stopping()] if where == "a callback" else []
    plugins = [Interrupting(), Preemption(), Checkpoint(tmp_path)]
    with pytest.raises((KeyboardInterrupt, Preempted)):
        fit(new(optimizer=averaging()), X, Y, plugins=plugins, callbacks=callbacks, **ARGUMENTS)
    [saved] = tmp_path.glob("step-*")
    assert saved.name == "step-00000003"
    weights = keras.models.load_model(saved / "model.keras").get_weights()[0]
    np.testing.assert_allclose(weights, trained_weights(3), rtol=1e-6)
