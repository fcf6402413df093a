"""JAX: a trainee for the state of your own loop, a pytree of arrays or Flax's objects."""

from __future__ import annotations

from hookcore_adapters.jax import installed as _installed  # first: its error names what to install
from hookcore_adapters.jax.trainee import JaxTrainee

__all__ = ["JaxTrainee"]

del _installed
