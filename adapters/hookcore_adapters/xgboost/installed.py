"""What must be installed for the XGBoost adapter, and what its import says if that is missing. Imports no XGBoost."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "3.0"
"""The oldest XGBoost that the adapter works with."""


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if XGBoost is what `error` misses."""
    if (error.name or "").partition(".")[0] == "xgboost":
        raise ImportError(
            "hookcore_adapters.xgboost needs XGBoost: pip install 'hookcore[xgboost]', or pip install xgboost-cpu, which is the "
            "same module without libraries for a GPU.",
            name=error.name,
        ) from error
