"""What Keras's trainer on JAX keeps to itself within an epoch: the values of all variables, which the model's have not then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def is_held(model: Any) -> bool:
    """Return whether the trainer holds the values, and the model's variables do not."""
    return internals.jax_state(model) is not None


def sync(model: Any) -> None:
    """Put the values into the model's variables. Its trainer takes them from there for the next batch, which takes time."""
    if is_held(model):
        model.jax_state_sync()


@contextlib.contextmanager
def reading(models: Iterable[Any], *variables: Any) -> Iterator[None]:
    """Have `variables`, of the models' optimizers, give the values that they have now, without `sync`."""
    wanted = {id(variable) for variable in variables}
    held = [
        (variable, value)
        for model in models
        if (state := internals.jax_state(model)) and state.get("optimizer_variables")
        for variable, value in zip(model.optimizer.variables, state["optimizer_variables"], strict=True)
        if id(variable) in wanted
    ]
    with keras.StatelessScope(held) if held else contextlib.nullcontext():
        yield
