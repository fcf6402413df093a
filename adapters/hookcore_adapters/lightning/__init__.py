"""Lightning: plugins in a `Trainer`, as one callback."""

from __future__ import annotations

from hookcore_adapters.lightning import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import lightning.pytorch as _lightning
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_lightning.__version__, _installed.FLOOR, adapter="lightning", name="Lightning")

from hookcore_adapters.lightning.adapter import LightningAdapter
from hookcore_adapters.lightning.trainee import LightningTrainee

__all__ = ["LightningAdapter", "LightningTrainee"]

del _check_version, _installed, _lightning
