"""PyTorch: models and optimizers of a loop of your own as plugins see them, and data that can begin in mid-epoch."""

from __future__ import annotations

from hookcore_adapters.torch import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import numpy as np  # torch and safetensors do without
    import safetensors as _safetensors
    import torch as _torch
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_torch.__version__, _installed.FLOOR, adapter="torch", name="PyTorch")

from hookcore_adapters.torch.sampler import ResumableSampler
from hookcore_adapters.torch.trainee import TorchTrainee

__all__ = ["ResumableSampler", "TorchTrainee"]

del _check_version, _installed, _safetensors, _torch, np
