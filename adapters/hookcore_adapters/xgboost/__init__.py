"""XGBoost: plugins as one callback of `xgboost.train`, and of what calls it, such as `XGBClassifier`."""

from __future__ import annotations

from hookcore_adapters.versions import check_version as _check_version
from hookcore_adapters.xgboost import installed as _installed

try:
    import xgboost as _xgboost
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_xgboost.__version__, _installed.FLOOR, adapter="xgboost", name="XGBoost")

from hookcore_adapters.xgboost.adapter import XGBoostAdapter
from hookcore_adapters.xgboost.trainee import XGBoostTrainee

__all__ = ["XGBoostAdapter", "XGBoostTrainee"]

del _check_version, _installed, _xgboost
