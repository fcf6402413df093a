"""A run that continues with the state of an earlier one, for the properties of stop and resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hookcore import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping


def resuming(plugin: Any, carried: Mapping[str, Any] | None) -> list[object]:
    """A plugin that gives `plugin` the state of an earlier run, before that one is told that training begins."""
    if carried is None:
        return []
    return [SimpleNamespace(name="resume", on_train_begin=hookimpl(tryfirst=True)(lambda: plugin.load_state_dict(carried)))]
