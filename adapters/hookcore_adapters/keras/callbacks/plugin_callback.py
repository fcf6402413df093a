"""A Keras callback that runs one plugin: the base of most drop-in callbacks."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import attrs
import keras

from hookcore import CapabilityError, Engine, HookcoreError, MetricError
from hookcore.numeric import unwrapped
from hookcore_adapters.keras.adapter import KerasAdapter
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore import Monitor, Run
    from hookcore_adapters.keras.numeric_logs import Logs
    from hookcore_adapters.keras.snapshot import KerasSnapshot


class PluginCallback(StatefulCallback, KerasAdapter):
    """A Keras callback that runs one plugin, with the attributes and messages of Keras's own."""

    def __init__(self, plugin: Any, verbose: int = 0) -> None:
        super().__init__(Engine([plugin], autoload=False))
        self.plugin = plugin
        self.verbose = verbose
        self._has_begun = False
        self._restored_state: Mapping[str, Any] | None = None
        self._restored_weights: Mapping[str, KerasSnapshot] = {}

    @property
    def current_run(self) -> Run:
        """The latest run. Raises `HookcoreError` before the first."""
        if self.run is None:
            raise HookcoreError(f"{type(self).__name__}: Keras called another method before on_train_begin.")
        return self.run

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._has_begun, self._restored_state, self._restored_weights = False, None, {}

    def on_train_begin(self, logs: Logs = None) -> None:
        try:
            super().on_train_begin(logs)
        except CapabilityError as error:
            # Keras's own message, which scripts may search for.
            raise TypeError(
                f"This optimizer was created with a `LearningRateSchedule`, or cannot be set for another reason: {error}"
            ) from error
        except MetricError as error:
            raise ValueError(*error.args) from error
        self._has_begun = True

    def prepared(self) -> None:
        if self._restored_state is not None:
            self.plugin.load_state_dict(self._restored_state)
        if self._restored_weights:
            self.plugin.load_snapshots(self._restored_weights)
        self._restored_state, self._restored_weights = None, {}

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, numeric_logs(logs))

    def state_dict(self) -> Mapping[str, Any] | None:
        return self.plugin.state_dict() if hasattr(self.plugin, "state_dict") else None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # `BackupAndRestore` may be listed before or after this callback, and on_train_begin resets the plugin's state.
        self.plugin.load_state_dict(state)
        if not self._has_begun:
            self._restored_state = state

    def snapshots(self) -> Mapping[str, KerasSnapshot]:
        """Return the weights that the plugin holds, which are saved with its state."""
        return self.plugin.snapshots() if hasattr(self.plugin, "snapshots") else {}

    def load_snapshots(self, snapshots: Mapping[str, KerasSnapshot]) -> None:
        """Take over what `snapshots` returned before the restart. Called after `load_state_dict`."""
        self.plugin.load_snapshots(snapshots)
        if not self._has_begun:
            self._restored_weights = snapshots


def plugin_parameter(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    """Return a property for the parameter `name` of a callback's plugin."""
    return property(
        lambda callback: getattr(callback.plugin, name),
        lambda callback, value: setattr(callback.plugin, name, unwrapped(convert(value))),
    )


def monitor_field(name: str, *, absent: Any = None) -> Any:
    """Return a property for the field `name` of the monitor of a callback's plugin, with `absent` instead of None."""

    def read(callback: PluginCallback) -> Any:
        value = getattr(callback.plugin.observed, name)
        return absent if value is None else value

    def write(callback: PluginCallback, value: Any) -> None:
        callback.plugin.observed = attrs.evolve(callback.plugin.observed, **{name: value})

    return property(read, write)


def comparison(monitor: Monitor | None) -> Any:
    """Return Keras's `monitor_op` for a monitor: `keras.ops.less` or `greater`, or None without a monitor."""
    return None if monitor is None else keras.ops.less if monitor.mode == "min" else keras.ops.greater


def monitor_comparison() -> Any:
    """Return a property for Keras's `monitor_op` of a callback's plugin: `keras.ops.less` or `greater`; None before training."""
    return property(lambda callback: None if callback.run is None else comparison(callback.plugin.observed))


def print_message(message: str) -> None:
    """Print a message like Keras: to the terminal, or to absl's log if interactive logging is off."""
    if keras.config.is_interactive_logging_enabled():
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()
    else:
        logging.getLogger("absl").info(message)
