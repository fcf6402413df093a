"""The plugins of this distribution, which cases train with. The catalogue makes them, because hookcore must not import them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from hookcore.registry import discovery
from hookcore.testing.adapters.harness import Feature

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from hookcore.testing.adapters.lives import Trial


def shipped_entries() -> list[EntryPoint]:
    """Return this distribution's entry points in the catalogue."""
    return [
        entry for entry in discovery.entry_points(discovery.CATALOGUE) if entry.dist is not None and entry.dist.name == "hookcore"
    ]


@functools.cache
def _kind(name: str) -> Any:
    return next(discovery.load(entry) for entry in shipped_entries() if entry.name == name)


def make(name: str, **parameters: Any) -> Any:
    """Return a new plugin of this distribution, by its name in the catalogue."""
    return _kind(name)(**parameters)


TO_DECIDE_ON: Final = (3.0, 1.0, 2.0, 2.5, 4.0, 5.0)
"""Values of a metric on which the plugins of `deciding` reduce the rate, stop, and restore the best weights."""


def deciding(trial: Trial, *, holds_weights: bool = True) -> list[object]:
    """Return plugins whose state and decisions a resumed run must restore."""
    monitor: dict[str, Any] = {"monitor": trial.monitor, "mode": "min", "missing": "skip"}
    holds = holds_weights and trial.has(Feature.SNAPSHOT)
    stopping = make("early_stopping", **monitor, patience=2, restore_best_weights=holds)
    plateau = [make("reduce_lr_on_plateau", **monitor, patience=1, factor=0.5)] if trial.has(Feature.LEARNING_RATE) else []
    return [stopping, *plateau]
