"""JAX: a trainee for the state of your own loop, a pytree of arrays or Flax's objects."""

from __future__ import annotations

from hookcore_adapters.jax import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import jax as _jax
    import safetensors as _safetensors
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_jax.__version__, _installed.FLOOR, adapter="jax", name="JAX")

from hookcore_adapters.jax.trainee import JaxTrainee

__all__ = ["JaxTrainee"]

del _check_version, _installed, _jax, _safetensors
