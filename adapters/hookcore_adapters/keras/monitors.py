"""Plugins that monitor a metric that the model does not have, told of before the first epoch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hookcore.text import did_you_mean
from hookcore_adapters.keras.directions import directions, outputs

if TYPE_CHECKING:
    from hookcore import Engine

logger = logging.getLogger("hookcore")


def warn_of_misspelt(engine: Engine, model: Any) -> None:
    """Warn of each plugin whose `monitor` is no metric of the model, but near to one. A callback may still log it."""
    names = _metrics_of(model)
    for registered in engine.plugins if names else ():
        monitor = getattr(registered.plugin, "monitor", None)
        if not isinstance(monitor, str) or getattr(registered.plugin, "missing", "skip") == "skip":
            continue
        prefix = "val_" if monitor.startswith("val_") else ""
        hint = did_you_mean(monitor.removeprefix(prefix), names)
        if hint and monitor.removeprefix(prefix).lower() not in {name.lower() for name in names}:
            logger.warning(
                "%s: monitor=%r is not one of the model's metrics, which are %s.%s If a callback or plugin logs it, all is well",
                registered.name,
                monitor,
                ", ".join(f"{prefix}{name}" for name in names),
                hint.replace("'", f"'{prefix}", 1),
            )


def _metrics_of(model: Any) -> list[str]:
    """Return the names of the model's metrics, without a prefix for validation; none if they are not all known yet."""
    if not (getattr(model, "built", False) and getattr(model, "compiled", False)):
        return []
    names = [name for name, _ in directions(model.metrics)]
    prefixes = ["", *(f"{output}_" for output in sorted(outputs(model)))]
    return [] if "" in names else list(dict.fromkeys(f"{prefix}{name}" for name in ("loss", *names) for prefix in prefixes))
