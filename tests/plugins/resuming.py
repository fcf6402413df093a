"""Continue with a plugin's state from an earlier run, for the properties of stop and resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hookcore import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping


def resuming(plugin: Any, carried: Mapping[str, Any] | None) -> list[object]:
    """Return a plugin that gives `plugin` the state of an earlier run before its `on_train_begin`."""
    if carried is None:
        return []
    return [SimpleNamespace(name="resume", on_train_begin=hookimpl(tryfirst=True)(lambda: plugin.load_state_dict(carried)))]
