"""The state of Keras callbacks in checkpoints, for callbacks beside plugins and those hosted as plugins."""

from __future__ import annotations

import logging
import sys
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore import schema
from hookcore.stacks import callers
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.held_weights import held_weights_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hookcore_adapters.keras.held_weights import HeldWeights

logger = logging.getLogger("hookcore")

EMA_STATE: Final = schema.fields({"ema_weights_in_model": schema.truth})
"""The state of a `SwapEMAWeights`."""


def calling_list() -> Any:
    """Return the `CallbackList` that is calling a method of a callback now, or None without one."""
    calling = (frame.f_locals.get("self") for frame in callers(sys._getframe()))  # noqa: SLF001 - the only way to find the caller
    return next((found for found in calling if isinstance(found, keras.callbacks.CallbackList)), None)


def state_of(callback: Any) -> Mapping[str, Any] | None:
    """Return the state of `callback`, or None if it has no `state_dict`.

    Of Keras's callbacks, only `SwapEMAWeights` has state.
    """
    if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
        return callback.state_dict()  # type: ignore[no-any-return]
    if isinstance(callback, keras.callbacks.SwapEMAWeights):
        return {"ema_weights_in_model": internals.has_ema_weights(callback)}
    return None


def restore_state(callback: Any, state: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    """Restore in `callback` the state that `state_of` returned, and the weights that it `held`, by its own keys."""
    if hasattr(callback, "load_state_dict"):
        callback.load_state_dict(state)
        if held:
            callback.load_snapshots(held)
    else:
        internals.set_has_ema_weights(callback, value=EMA_STATE(state)["ema_weights_in_model"])


def named(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the callbacks that have state, by names that are the same in a restarted process."""
    numbers: Counter[str] = Counter()
    found = {}
    for callback in callbacks:
        if state_of(callback) is not None:
            name = type(callback).__name__
            numbers[name] += 1
            found[f"{name}_{numbers[name]}"] = callback
    return found


def have_stopped(callbacks: Iterable[Any]) -> bool:
    """Return whether one of `callbacks`, which are restored, had stopped the run; the log names it."""
    stopping = next((callback for callback in callbacks if getattr(callback, "has_stopped", False)), None)
    if stopping is not None:
        logger.warning("resumed: the run was stopped by the callback %s and stays stopped", type(stopping).__name__)
    return stopping is not None


class CallbackStates:
    """The states of the callbacks that Keras calls beside plugins. Pickles and copies do not contain the callbacks."""

    _list: weakref.ref[Any] | None = None

    def called_by(self, callback_list: Any) -> None:
        """Set the `CallbackList` that has the callbacks, or None if something else calls them."""
        self._list = None if callback_list is None else weakref.ref(callback_list)

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks that Keras calls, in order."""
        callback_list = None if self._list is None else self._list()
        return [] if callback_list is None else callback_list.callbacks

    def _named(self) -> dict[str, Any]:
        return named(self.callbacks)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each callback that has one, by name."""
        return {name: state_of(callback) for name, callback in self._named().items()}

    def held_weights(self) -> HeldWeights:
        """Return the weights that the callbacks hold."""
        return held_weights_of(self._named())

    def load_state_dict(self, states: Mapping[str, Any], held: HeldWeights) -> bool:
        """Restore each callback from its state and the weights that it held; return whether one had stopped the run.

        The log names those that are new, or gone.
        """
        callbacks = self._named()
        for name in callbacks.keys() & states.keys():
            restore_state(callbacks[name], states[name], held.get(name, {}))
        for name in callbacks.keys() - states.keys():
            logger.warning("resumed: the checkpoint has no state of the callback %s, which starts from the beginning", name)
        for name in states.keys() - callbacks.keys():
            logger.warning("resumed: the checkpoint has the state of a callback %s, which this run does not have", name)
        return have_stopped(callbacks.values())

    def __getstate__(self) -> dict[str, Any]:
        return {}
