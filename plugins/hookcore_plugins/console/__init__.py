"""Show the progress of a run."""

from __future__ import annotations

from hookcore_plugins.console.plugin import Console

__all__ = ["Console"]
