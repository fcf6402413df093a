"""Check on import that the adapter's libraries are installed, and JAX is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import JAX
from hookcore_adapters.versions import require

FLOOR: Final = "0.8"
"""The oldest JAX that the adapter works with."""

require(
    JAX, FLOOR, "jax", "safetensors", "numpy", advice="For a GPU or a TPU, see https://docs.jax.dev/en/latest/installation.html."
)
