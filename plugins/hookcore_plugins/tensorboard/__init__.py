"""Write what TensorBoard shows."""

from __future__ import annotations

from hookcore_plugins.tensorboard.plugin import TensorBoard

__all__ = ["TensorBoard"]
