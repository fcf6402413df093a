"""Check on import that the adapter's libraries are installed, and LightGBM is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import LIGHTGBM
from hookcore_adapters.versions import require

FLOOR: Final = "4.6"
"""The oldest LightGBM that the adapter works with."""

require(LIGHTGBM, FLOOR, "lightgbm")
