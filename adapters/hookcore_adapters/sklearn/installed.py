"""What must be installed for the scikit-learn adapter, and what its import says if that is missing. Imports none of it."""

from __future__ import annotations

from typing import Final

FLOOR: Final = "1.5"
"""The oldest scikit-learn that the adapter works with."""
_NEEDED: Final = {"sklearn": "scikit-learn", "skops": "skops"}
"""What people call each package that is imported."""


def explain(error: ImportError) -> None:
    """Raise an `ImportError` that says what to install if a package that the adapter needs is what `error` misses."""
    missing = _NEEDED.get((error.name or "").partition(".")[0])
    if missing is not None:
        raise ImportError(
            f"hookcore_adapters.sklearn needs {' and '.join(_NEEDED.values())}, and {missing} is missing: "
            "pip install 'hookcore[sklearn]'.",
            name=error.name,
        ) from error
