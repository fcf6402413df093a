"""Warn of the callbacks whose state no checkpoint has, so that a resumed run starts them from the beginning."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore_adapters.keras.callback_states import state_of
from hookcore_adapters.keras.light_callback import LightCallback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcore import Engine

logger = logging.getLogger("hookcore")

_BEST_MODEL: Final = "loses its best value, so that a worse model may replace the best one"
_LOST: Final = {
    "EarlyStopping": "loses its best value and weights, and how long it has waited",
    "ReduceLROnPlateau": "loses its best value, and how long it has waited",
    "ModelCheckpoint": _BEST_MODEL,
    "OrbaxCheckpoint": _BEST_MODEL,
    "LearningRateScheduler": "sets the rate of an interrupted epoch twice, the second time from the rate that it has set",
}
"""What Keras's own callbacks lose or do in a resumed run, by the names of their classes."""


def warn_of_lost_state(callbacks: Iterable[Any], engine: Engine, *, resumed: bool) -> None:
    """Warn of Keras's own callbacks, in `callbacks` or hosted by `engine`, that a resumed run starts from the beginning.

    If the run is `resumed`, the log also names other callbacks without `state_dict`, at the level INFO: they may have no state.
    """
    hosted = (getattr(registered.plugin, "callback", None) for registered in engine.plugins)
    every = [*callbacks, *(one for one in hosted if isinstance(one, keras.callbacks.Callback))]
    stateless = [one for one in every if not isinstance(one, LightCallback) and state_of(one) is None]
    lost = [f"{type(one).__name__} {what}" for one in stateless if (what := _lost(one)) is not None]
    if lost:
        logger.warning(
            "%s these Keras callbacks start from the beginning, because no checkpoint has their state: %s. Use the drop-ins of "
            "hookcore_adapters.keras.callbacks, which have the same names and parameters, or plugins",
            "resumed:" if resumed else "if this run is resumed,",
            "; ".join(lost),
        )
    others = [one for one in stateless if _lost(one) is None and not type(one).__module__.startswith("keras.")]
    if resumed and others:
        names = ", ".join(type(one).__name__ for one in others)
        logger.info("resumed: callbacks without state_dict and load_state_dict start from the beginning: %s", names)


def warn_of_backups(callbacks: Iterable[Any]) -> None:
    """Warn of `BackupAndRestore`, Keras's own or the drop-in, beside `resume`: both restore the model."""
    # By name, because the drop-ins import this package.
    if any(kind.__name__ == "BackupAndRestore" for one in callbacks for kind in type(one).__mro__):
        logger.warning(
            "BackupAndRestore restores the model from its own backup, possibly over the checkpoint from which the run resumes. "
            "Remove it: a checkpoint has all that it backs up"
        )


def _lost(callback: Any) -> str | None:
    """Return what one of Keras's own callbacks, or a subclass, loses in a resumed run; None for nothing and for others."""
    kinds = {name: getattr(keras.callbacks, name, ()) for name in _LOST}  # not every Keras has each
    name = next((name for name, kind in kinds.items() if isinstance(callback, kind)), None)
    if name is None or not getattr(callback, "save_best_only", True):
        return None
    return _LOST[name] if name != "LearningRateScheduler" or _takes_rate(callback.schedule) else None


def _takes_rate(schedule: Any) -> bool:
    """Return whether a schedule computes the rate from the present one."""
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except (TypeError, ValueError):  # it takes only the epoch, or cannot be inspected
        return False
    return True
