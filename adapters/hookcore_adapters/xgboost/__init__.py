"""XGBoost: plugins as one callback of `xgboost.train`, and of what calls it, such as `XGBClassifier`."""

from __future__ import annotations

from hookcore_adapters.xgboost import installed as _installed  # first: its error names what to install
from hookcore_adapters.xgboost.adapter import XGBoostAdapter
from hookcore_adapters.xgboost.trainee import XGBoostTrainee

__all__ = ["XGBoostAdapter", "XGBoostTrainee"]

del _installed
