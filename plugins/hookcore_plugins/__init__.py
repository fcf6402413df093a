"""The shipped plugins. Importing this package imports no heavy library; a plugin that needs one imports it when it is made."""

from __future__ import annotations

from hookcore_plugins.checkpoint import Checkpoint
from hookcore_plugins.early_stopping import EarlyStopping
from hookcore_plugins.reduce_lr import ReduceLROnPlateau

__all__ = ["Checkpoint", "EarlyStopping", "ReduceLROnPlateau"]
