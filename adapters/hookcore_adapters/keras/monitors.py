"""Warn before the first epoch of plugins that monitor a metric that the model lacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hookcore.text import did_you_mean
from hookcore_adapters.keras.directions import directions, outputs

if TYPE_CHECKING:
    from hookcore import Engine

logger = logging.getLogger("hookcore")


def warn_of_misspelt(engine: Engine, model: Any) -> None:
    """Warn of each plugin whose `monitor` is similar to a metric of the model, but not equal to one."""
    names = _metrics_of(model)
    for registered in engine.plugins if names else ():
        monitor = getattr(registered.plugin, "monitor", None)
        if not isinstance(monitor, str) or getattr(registered.plugin, "missing", "skip") == "skip":
            continue
        prefix = "val_" if monitor.startswith("val_") else ""
        hint = did_you_mean(monitor.removeprefix(prefix), names)
        if hint and monitor.removeprefix(prefix).lower() not in {name.lower() for name in names}:
            logger.warning(
                "%s: monitor=%r is not one of the model's metrics, which are %s.%s If a callback or plugin logs it, ignore this",
                registered.name,
                monitor,
                ", ".join(f"{prefix}{name}" for name in names),
                hint.replace("'", f"'{prefix}", 1),
            )


def _metrics_of(model: Any) -> list[str]:
    """Return the names of the model's metrics, without a prefix for validation; empty if not all are known yet."""
    if not (getattr(model, "built", False) and getattr(model, "compiled", False)):
        return []
    names = [name for name, _ in directions(model.metrics)]
    prefixes = ["", *(f"{output}_" for output in sorted(outputs(model)))]
    return [] if "" in names else list(dict.fromkeys(f"{prefix}{name}" for name in ("loss", *names) for prefix in prefixes))
