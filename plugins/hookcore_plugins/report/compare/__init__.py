"""Compare recorded runs: as a table in the terminal, as a page with their curves, and as JSON or CSV."""

from __future__ import annotations

from hookcore_plugins.report.compare.comparison import Comparison
from hookcore_plugins.report.compare.ranking import Compared

__all__ = ["Compared", "Comparison"]
