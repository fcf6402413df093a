"""JAX: the state of a loop of your own as plugins see it, be it a pytree or Flax's objects."""

from __future__ import annotations

from hookcore_adapters.jax import installed as _installed  # first: its error names what to install
from hookcore_adapters.jax.trainee import JaxTrainee

__all__ = ["JaxTrainee"]

del _installed
