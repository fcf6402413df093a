"""Lightning: plugins in a `Trainer`, as one callback."""

from __future__ import annotations

from hookcore_adapters.lightning import installed as _installed  # first: its error names what to install
from hookcore_adapters.lightning.adapter import LightningAdapter
from hookcore_adapters.lightning.trainee import LightningTrainee

__all__ = ["LightningAdapter", "LightningTrainee"]

del _installed
