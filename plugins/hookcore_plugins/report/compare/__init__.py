"""Compare recorded runs: a table in the terminal, a page with their curves, and the same as JSON or CSV."""

from __future__ import annotations

from hookcore_plugins.report.compare.comparison import Comparison
from hookcore_plugins.report.compare.ranking import Compared

__all__ = ["Compared", "Comparison"]
