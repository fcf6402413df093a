"""Transformers: plugins in `Trainer.train`, as one callback."""

from __future__ import annotations

from hookcore_adapters.transformers import installed as _installed  # first: its error names what to install
from hookcore_adapters.transformers.adapter import TransformersAdapter
from hookcore_adapters.transformers.trainee import TransformersTrainee

__all__ = ["TransformersAdapter", "TransformersTrainee"]

del _installed
