"""What must be installed for the LightGBM adapter, and what its import says if that is missing. Imports no LightGBM."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "4.6"
"""The oldest LightGBM that the adapter works with."""


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if LightGBM is what `error` misses."""
    if (error.name or "").partition(".")[0] == "lightgbm":
        raise ImportError(
            "hookcore_adapters.lightgbm needs LightGBM: pip install 'hookcore[lightgbm]'.", name=error.name
        ) from error
