"""Check on import that the adapter's libraries are installed, and Transformers is new enough."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.catalogue import TRANSFORMERS
from hookcore_adapters.versions import require

FLOOR: Final = "5.0"
"""The oldest Transformers that the adapter works with."""

require(TRANSFORMERS, FLOOR, "transformers", "accelerate")
