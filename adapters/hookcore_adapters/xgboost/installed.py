"""Check on import that the adapter's libraries are installed, and XGBoost is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import XGBOOST
from hookcore_adapters.versions import require

FLOOR: Final = "3.0"
"""The oldest XGBoost that the adapter works with."""

require(XGBOOST, FLOOR, "xgboost", advice="Without a GPU, the smaller package xgboost-cpu brings the same module.")
