"""A plugin that is a module."""

from __future__ import annotations

from hookcore import hookimpl


@hookimpl
def on_epoch_end() -> None:
    """Do nothing."""
