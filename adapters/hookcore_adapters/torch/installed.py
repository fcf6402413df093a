"""Check on import that the adapter's libraries are installed, and PyTorch is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import TORCH
from hookcore_adapters.versions import require

FLOOR: Final = "2.9"
"""The oldest PyTorch that the adapter works with."""

require(
    TORCH,
    FLOOR,
    "torch",
    "safetensors",
    "numpy",
    advice="For a build for a CPU or another version of CUDA, see https://pytorch.org/get-started/locally.",
)
