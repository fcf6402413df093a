"""Transformers: plugins in `Trainer.train`, as one callback."""

from __future__ import annotations

from hookcore_adapters.transformers import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import accelerate as _accelerate
    import transformers as _transformers
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_transformers.__version__, _installed.FLOOR, adapter="transformers", name="Transformers")

from hookcore_adapters.transformers.adapter import TransformersAdapter
from hookcore_adapters.transformers.trainee import TransformersTrainee

__all__ = ["TransformersAdapter", "TransformersTrainee"]

del _accelerate, _check_version, _installed, _transformers
