"""PyTorch: models and optimizers in a loop that you write, and data that can start in mid-epoch."""

from __future__ import annotations

from hookcore_adapters.torch import installed as _installed  # first: its error names what to install
from hookcore_adapters.torch.sampler import ResumableSampler
from hookcore_adapters.torch.trainee import TorchTrainee

__all__ = ["ResumableSampler", "TorchTrainee"]

del _installed
