"""The backend of Keras in the tests, which `KERAS_BACKEND` chooses, and marks for tests that only some backends support."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import keras
import pytest
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BACKEND: Final[str] = keras.backend.backend()
EAGERLY: Final = BACKEND != "jax"
"""Whether models in tests run eagerly by default: on TensorFlow tracing takes longer than it saves, but not on JAX."""
tf: Any = importlib.import_module("tensorflow") if BACKEND == "tensorflow" else None
"""TensorFlow, for tests that are `only_on("tensorflow", ...)`. None on another backend, which does not need it."""


def _without_autotuning() -> None:
    """Disable the autotuner of tf.data, which may miss its end, so that closing an iterator waits up to a minute.

    The tests have many short iterators. With the tuner they took twice as long on a busy machine, and some hung.
    """

    def untuned(dataset: Any) -> Any:
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)

    # Every kind of iterator, also those of replicas, calls this, which exists to disable the tuner for debugging.
    assert callable(tf.data.Dataset._apply_debug_options)
    tf.data.Dataset._apply_debug_options = untuned


if tf is not None:
    _without_autotuning()


def only_on(*backends: str, what: str) -> pytest.MarkDecorator:
    """Skip a test on other backends than these, which lack `what` it tests."""
    return pytest.mark.skipif(BACKEND not in backends, reason=f"{what}: {' and '.join(backends)} only, and this is {BACKEND}")


TF_DATA: Final = only_on("tensorflow", what="tf.data")
LOADER: Final = only_on("torch", what="torch.utils.data.DataLoader")
SEVERAL_STEPS: Final = only_on("tensorflow", "jax", what="steps_per_execution")


def kinds_of_data(names: Iterable[str]) -> list[Any]:
    """Return parameters of these names, with marks for a `tf.data` dataset and a `DataLoader`."""
    own = {"dataset": TF_DATA, "DataLoader": LOADER}
    return [pytest.param(name, marks=[mark for word, mark in own.items() if word in name]) for name in names]


def tensor(value: Any) -> Any:
    """Return a tensor of the backend."""
    return keras.ops.convert_to_tensor(value)


def gradients(loss_of: Callable[[], Any], *groups: Sequence[Any]) -> tuple[Any, ...]:
    """Return the loss, and its gradients for each group of variables, on any backend, for a hand-written loop.

    Other changes by `loss_of`, such as the state of seeds, are kept.
    """
    variables = [variable for group in groups for variable in group]
    loss, flat = {"tensorflow": _by_tape, "torch": _by_backward, "jax": _by_function}[BACKEND](loss_of, variables)
    found = iter(flat)
    return loss, *([next(found) for _ in group] for group in groups)


def apply(optimizer: Any, found: Sequence[Any], variables: Sequence[Any]) -> None:
    """Apply gradients in a hand-written loop, which optimizers with a scaled loss on JAX only support without state."""
    if BACKEND != "jax":
        optimizer.apply(found, variables)
        return
    if not optimizer.built:
        optimizer.build(variables)
    groups = variables, optimizer.variables
    values, own = ([variable.value for variable in group] for group in groups)
    for group, new in zip(groups, optimizer.stateless_apply(own, found, values), strict=True):
        for variable, value in zip(group, new, strict=True):
            variable.assign(value)


def _by_tape(loss_of: Callable[[], Any], variables: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    with tf.GradientTape() as tape:
        loss = loss_of()
    return loss, tape.gradient(loss, [variable.value for variable in variables])


def _by_backward(loss_of: Callable[[], Any], variables: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    import torch

    loss = loss_of()
    return loss.detach(), torch.autograd.grad(loss, [variable.value for variable in variables])


def _by_function(loss_of: Callable[[], Any], variables: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    import jax

    around = dict(get_stateless_scope().state_mapping) if in_stateless_scope() else {}
    changed: list[Any] = []

    def function(values: Sequence[Any]) -> tuple[Any, Any]:
        scope = Recording(zip(variables, values, strict=True))
        scope.state_mapping = around | scope.state_mapping
        with scope:
            loss = loss_of()
        changed[:] = scope.updated.values()
        return loss, [scope.get_current_value(variable) for variable in changed]

    (loss, values), found = jax.value_and_grad(function, has_aux=True)([variable.value for variable in variables])
    for variable, value in zip(changed, values, strict=True):
        variable.assign(value)
    return loss, found


class Recording(keras.StatelessScope):  # type: ignore[misc]  # Keras ships no types
    """A scope that records which variables were assigned in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.updated: dict[int, Any] = {}

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Record the new value of a variable."""
        super().add_update(update)
        self.updated[id(update[0])] = update[0]


class OwnStep(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model whose train step is its `own_step(data)`, written once for all backends, although JAX passes the state around.

    On JAX, variables that the trainer does not find, such as those of an optimizer in a layer, need `run_eagerly`.
    """

    def train_step(self, *args: Any) -> Any:
        """Train one batch in the form that Keras's trainer of this backend expects."""
        if BACKEND != "jax":
            return self.own_step(*args)
        state, data = args
        optimizer = [] if self.optimizer is None else self.optimizer.variables
        groups = [self.trainable_variables, self.non_trainable_variables, optimizer, self.metrics_variables]
        pairs = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
        with Recording(pairs) as scope:
            logs = self.own_step(data)
        own = {id(variable) for variable, _ in pairs}
        for key, variable in scope.updated.items():
            if key not in own:
                variable.assign(scope.get_current_value(variable))
        return logs, tuple([scope.get_current_value(variable) for variable in group] for group in groups)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Four batches of the data."""

    def __init__(self, data: tuple[Any, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.x, self.y = data

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        part = slice(6 * index, 6 * index + 6)
        return self.x[part], self.y[part]
