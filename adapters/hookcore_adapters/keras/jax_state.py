"""The values of all variables that Keras's trainer on JAX holds during an epoch, while the model's variables are outdated."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def is_held(model: Any) -> bool:
    """Return whether the trainer holds newer values than the model's variables."""
    return internals.jax_state(model) is not None


def sync(model: Any) -> None:
    """Copy the values into the model's variables. The trainer reads them back for the next batch, which takes time."""
    if is_held(model):
        model.jax_state_sync()


@contextlib.contextmanager
def reading(models: Iterable[Any], *variables: Any) -> Iterator[None]:
    """Give `variables` of the models' optimizers their newest values in this `with` block, without `sync`."""
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
