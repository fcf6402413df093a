"""Check on import that the adapter's libraries are installed, and Lightning is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import LIGHTNING
from hookcore_adapters.versions import require

FLOOR: Final = "2.6"
"""The oldest Lightning that the adapter works with."""

require(
    LIGHTNING,
    FLOOR,
    "lightning.pytorch",
    advice="Classes of the package pytorch_lightning do not work with it: import lightning.pytorch instead.",
)
