"""What must be installed for the Keras adapter, and what its import says if that is missing. Imports no Keras."""

from __future__ import annotations

import importlib.util
import os
from typing import Final

FLOOR: Final = "3.12"
"""The oldest Keras that the adapter works with."""
BACKENDS: Final = ("tensorflow", "jax", "torch")
"""The backends on which Keras trains: the names of their packages, and of our extras."""


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if Keras, or the backend that it is to use, is what `error` misses."""
    missing = (error.name or "").partition(".")[0]
    if missing == "keras":
        raise ImportError(
            "hookcore_adapters.keras needs Keras and a backend for it: pip install 'hookcore[keras,tensorflow]', or jax or torch "
            "instead of tensorflow.",
            name=error.name,
        ) from error
    if missing in BACKENDS and not _is_installed(missing):
        chosen = os.environ.get("KERAS_BACKEND")
        by = f"KERAS_BACKEND={chosen}" if chosen else "KERAS_BACKEND is unset, so ~/.keras/keras.json or Keras's default"
        others = [backend for backend in BACKENDS if _is_installed(backend)]
        instead = f"Set KERAS_BACKEND={others[0]} before Keras is imported, or" if others else "To have it,"
        raise ImportError(
            f"Keras's backend {missing} is not installed. {by} chooses it; installed: {', '.join(others) or 'none'}. "
            f"{instead} pip install 'hookcore[keras,{missing}]'.",
            name=error.name,
        ) from error


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
