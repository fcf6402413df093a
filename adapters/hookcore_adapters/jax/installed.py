"""What must be installed for the JAX adapter, and what its import says if that is missing. Imports no JAX."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "0.8"
"""The oldest JAX that the adapter works with."""
_NEEDED: Final = ("jax", "jaxlib", "safetensors", "numpy")


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if a package that the adapter needs is what `error` misses."""
    missing = (error.name or "").partition(".")[0]
    if missing in _NEEDED:
        raise ImportError(
            f"hookcore_adapters.jax needs {', '.join(_NEEDED)}, and {missing} is missing: pip install 'hookcore[jax]'. For a GPU "
            "or a TPU, jax has extras of its own: https://docs.jax.dev/en/latest/installation.html.",
            name=error.name,
        ) from error
