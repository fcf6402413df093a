"""What must be installed for the Lightning adapter, and what its import says if that is missing. Imports no Lightning."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "2.6"
"""The oldest Lightning that the adapter works with."""


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if Lightning is what `error` misses."""
    if (error.name or "").partition(".")[0] == "lightning":
        raise ImportError(
            "hookcore_adapters.lightning needs Lightning: pip install 'hookcore[lightning]'. The package pytorch_lightning has "
            "classes of its own, which this adapter does not know: import lightning.pytorch instead.",
            name=error.name,
        ) from error
