"""Check on import that the adapter's libraries are installed, and scikit-learn is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import SKLEARN
from hookcore_adapters.versions import require

FLOOR: Final = "1.5"
"""The oldest scikit-learn that the adapter works with."""

require(SKLEARN, FLOOR, "sklearn", "skops")
