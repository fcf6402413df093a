"""LightGBM: plugins as one callback of `lightgbm.train` and of the estimators, or in a `train` that can do more."""

from __future__ import annotations

from hookcore_adapters.lightgbm import installed as _installed  # first: its error names what to install
from hookcore_adapters.lightgbm.adapter import LightGBMAdapter
from hookcore_adapters.lightgbm.trainee import LightGBMTrainee
from hookcore_adapters.lightgbm.training import train

__all__ = ["LightGBMAdapter", "LightGBMTrainee", "train"]

del _installed
