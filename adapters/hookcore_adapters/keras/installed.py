"""Check on import that Keras and its backend are installed, and Keras is new enough."""

from __future__ import annotations

import importlib.util
import os
from typing import Final

from hookcore_adapters.catalogue import KERAS
from hookcore_adapters.versions import require

FLOOR: Final = "3.12"
"""The oldest Keras that the adapter works with."""
BACKENDS: Final = ("tensorflow", "jax", "torch")
"""The backends on which Keras trains: the names of their packages, and of our extras."""


def _explain_backend(backend: str) -> str:
    """Return what chose `backend`, which is not installed, and what to do about it."""
    chosen = os.environ.get("KERAS_BACKEND")
    by = f"KERAS_BACKEND={chosen}" if chosen else "KERAS_BACKEND is unset, so ~/.keras/keras.json or Keras's default"
    others = [other for other in BACKENDS if _is_installed(other)]
    instead = f"Set KERAS_BACKEND={others[0]} before Keras is imported, or" if others else "To have it,"
    return (
        f"Keras's backend {backend} is not installed. {by} chooses it; installed: {', '.join(others) or 'none'}. "
        f"{instead} pip install 'hookcore[keras,{backend}]'."
    )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


try:
    require(KERAS, FLOOR, "keras", advice="Keras also runs on jax and torch: write one of them instead of tensorflow.")
except ModuleNotFoundError as error:
    backend = error.name or ""
    if backend not in BACKENDS or _is_installed(backend):
        raise
    raise ImportError(_explain_backend(backend), name=error.name) from error
