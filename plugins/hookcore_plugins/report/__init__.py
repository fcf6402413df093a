"""Record a run, and show it as text, as a picture or as a page."""

from __future__ import annotations

from hookcore_plugins.report.plugin import Report
from hookcore_plugins.report.record import ReportError
from hookcore_plugins.report.run_report import RunReport

__all__ = ["Report", "ReportError", "RunReport"]
