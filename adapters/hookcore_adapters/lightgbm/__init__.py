"""LightGBM: plugins as one callback of `lightgbm.train` and of the estimators, or in a `train` that can do more."""

from __future__ import annotations

from hookcore_adapters.lightgbm import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import lightgbm as _lightgbm
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_lightgbm.__version__, _installed.FLOOR, adapter="lightgbm", name="LightGBM")

from hookcore_adapters.lightgbm.adapter import LightGBMAdapter
from hookcore_adapters.lightgbm.trainee import LightGBMTrainee
from hookcore_adapters.lightgbm.training import train

__all__ = ["LightGBMAdapter", "LightGBMTrainee", "train"]

del _check_version, _installed, _lightgbm
