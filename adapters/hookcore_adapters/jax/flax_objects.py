"""The objects of `flax.nnx`, such as modules and optimizers: pytrees that a training step changes in place."""

from __future__ import annotations

import sys
from typing import Any

import jax


def put_into(old: Any, new: Any) -> Any:
    """Return `new`, a pytree with the structure of `old`, but with Flax's objects of `old`, updated to the values of `new`."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return new

    def chosen(own: Any, values: Any) -> Any:
        if not is_object(own):
            return values
        nnx.update(own, values if isinstance(own, nnx.Variable) else nnx.state(values))
        return own

    def is_object(part: Any) -> bool:
        return isinstance(part, nnx.Pytree | nnx.Variable)

    return jax.tree.map(chosen, old, new, is_leaf=is_object)
