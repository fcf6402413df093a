"""Save whole, durable checkpoints, and keep the right ones."""

from __future__ import annotations

from hookcore_plugins.checkpoint.plugin import Checkpoint

__all__ = ["Checkpoint"]
