"""What must be installed for the PyTorch adapter, and what its import says if that is missing. Imports no PyTorch."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "2.9"
"""The oldest PyTorch that the adapter works with."""
_NEEDED: Final = ("torch", "safetensors", "numpy")


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if a package that the adapter needs is what `error` misses."""
    missing = (error.name or "").partition(".")[0]
    if missing in _NEEDED:
        raise ImportError(
            f"hookcore_adapters.torch needs {', '.join(_NEEDED)}, and {missing} is missing: pip install 'hookcore[torch]'. "
            "Builds of PyTorch for a CPU or for another version of CUDA: https://pytorch.org/get-started/locally.",
            name=error.name,
        ) from error
