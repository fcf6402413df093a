"""What must be installed for the Transformers adapter, and what its import says if that is missing. Imports no Transformers."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "5.0"
"""The oldest Transformers that the adapter works with."""
_NEEDED: Final = ("transformers", "accelerate")


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if a package that the adapter needs is what `error` misses."""
    missing = (error.name or "").partition(".")[0]
    if missing in _NEEDED:
        raise ImportError(
            f"hookcore_adapters.transformers needs {' and '.join(_NEEDED)}, and {missing} is missing: "
            "pip install 'hookcore[transformers]'.",
            name=error.name,
        ) from error
