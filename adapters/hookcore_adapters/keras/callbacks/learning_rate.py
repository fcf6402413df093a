"""`keras.callbacks.ReduceLROnPlateau` and `LearningRateScheduler`, decided by the plugins."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, Final

import hookcore_plugins as plugins
from hookcore import Metrics, schema
from hookcore_adapters.keras.callbacks.arguments import as_count, as_number, mode_or_auto
from hookcore_adapters.keras.callbacks.plugin_callback import (
    PluginCallback,
    monitor_comparison,
    monitor_field,
    plugin_parameter,
    print_message,
)
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore_adapters.keras.numeric_logs import Logs

_EPOCH: Final = schema.fields({"epoch": schema.optional(schema.integer)})


class ReduceLROnPlateau(PluginCallback):
    """Keras's `ReduceLROnPlateau`: same parameters, defaults and attributes.

    Unknown keywords, which Keras ignores, are refused.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if as_number(self, factor=factor) >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        plugin = plugins.ReduceLROnPlateau(
            monitor,
            factor=float(factor),
            patience=max(as_count(self, patience=patience), 0),
            mode=mode_or_auto(self, mode),
            min_delta=abs(as_number(self, min_delta=min_delta)),
            cooldown=self._skipped_observations(cooldown),
            min_lr=max(as_number(self, min_lr=min_lr), 0.0),
            missing="skip",
        )
        super().__init__(plugin, verbose)
        self._cooldown = cooldown
        self.cooldown_counter = 0

    monitor = plugin_parameter("monitor")
    factor = plugin_parameter("factor")
    patience = plugin_parameter("patience")
    mode = plugin_parameter("mode")
    min_delta = plugin_parameter("min_delta", abs)
    min_lr = plugin_parameter("min_lr")
    wait = monitor_field("waited")
    best = monitor_field("best")
    monitor_op = monitor_comparison()

    @property
    def cooldown(self) -> int:
        """The given cooldown. As in Keras, one observation less than this number is skipped."""
        return self._cooldown

    @cooldown.setter
    def cooldown(self, value: int) -> None:
        self._cooldown = value
        self.plugin.cooldown = self._skipped_observations(value)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.cooldown_counter = 0
        super().on_train_begin(logs)

    def _skipped_observations(self, cooldown: int) -> int:
        return max(as_count(self, cooldown=cooldown) - 1, 0)

    def in_cooldown(self) -> bool:
        return bool(self.cooldown_counter > 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        run = self.current_run
        logs["learning_rate"] = run.learning_rate
        is_available = self.monitor in Metrics(numeric_logs(logs))
        if not is_available:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
        before = len(run.decisions)
        super().on_epoch_end(epoch, logs)
        reductions = run.decisions[before:]
        # Keras's count, which is one more than the number of observations that the plugin still skips.
        if reductions:
            self.cooldown_counter = self.cooldown
        elif is_available and self.in_cooldown():
            self.cooldown_counter -= 1
        for reduction in reductions if self.verbose > 0 else ():
            print_message(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {reduction.value}.")


class LearningRateScheduler(PluginCallback):
    """Keras's `LearningRateScheduler`: `schedule(epoch, learning_rate)` or `schedule(epoch)`, by its signature."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self._epoch: int | None = None
        """The latest epoch whose rate was set, also before the run was interrupted."""
        self._rate: float | None = None
        super().__init__(plugins.LearningRateSchedule(self._scheduled), verbose)

    def _scheduled(self, epoch: int, learning_rate: float) -> float:
        if epoch == self._epoch:  # it was cut, and has its rate: a schedule may return a part of the rate that it gets
            return learning_rate
        # Keras passes the rate to every schedule that accepts a second argument, and the plugin only if it is required.
        self._rate = self.schedule(epoch, learning_rate) if _takes_rate(self.schedule) else self.schedule(epoch)
        return self._rate

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._epoch = self._rate = None

    def state_dict(self) -> Mapping[str, Any]:
        return {"epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch = _EPOCH(state)["epoch"]

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        is_new = epoch != self._epoch
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        if self.verbose > 0 and is_new:
            print_message(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {self._rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.current_run.learning_rate
        super().on_epoch_end(epoch, logs)


def _takes_rate(schedule: Callable[..., float]) -> bool:
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    return True
