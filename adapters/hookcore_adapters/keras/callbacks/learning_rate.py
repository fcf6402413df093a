"""`keras.callbacks.ReduceLROnPlateau` and `LearningRateScheduler`, decided by the plugins."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import hookcore_plugins as plugins
from hookcore import Metrics
from hookcore_adapters.keras.callbacks.face import Face, comparison, known_mode, numbers, observed, parameter, say, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore_adapters.keras.callbacks.face import Logs


class ReduceLROnPlateau(Face):
    """Keras's `ReduceLROnPlateau`: same parameters, defaults and attributes. A keyword that Keras would swallow is refused."""

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
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        plugin = plugins.ReduceLROnPlateau(
            monitor,
            factor=float(factor),
            patience=max(whole(patience), 0),
            mode=known_mode(self, mode),
            min_delta=abs(float(min_delta)),
            cooldown=_skipped(cooldown),
            min_lr=max(float(min_lr), 0.0),
            missing="skip",
        )
        super().__init__(plugin, verbose)
        self._cooldown = cooldown
        self.cooldown_counter = 0

    monitor = parameter("monitor")
    factor = parameter("factor")
    patience = parameter("patience")
    mode = parameter("mode")
    min_delta = parameter("min_delta", abs)
    min_lr = parameter("min_lr")
    wait = observed("waited")
    best = observed("best")

    @property
    def cooldown(self) -> int:
        """As given. Keras lets one observation fewer pass than it says, and so does this."""
        return self._cooldown

    @cooldown.setter
    def cooldown(self, value: int) -> None:
        self._cooldown = value
        self.plugin.cooldown = _skipped(value)

    @property
    def monitor_op(self) -> Any:
        """`keras.ops.less` or `greater`; None before training."""
        return comparison(self.plugin.observed if self.run is not None else None)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keras's."""
        self.cooldown_counter = 0
        super().on_train_begin(logs)

    def in_cooldown(self) -> bool:
        """Whether observations are let pass."""
        return bool(self.cooldown_counter > 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the learning rate that the epoch had, warn as Keras does where the metric is missing, then the plugin."""
        logs = {} if logs is None else logs
        run = self.latest
        logs["learning_rate"] = run.learning_rate
        there = self.monitor in Metrics(numbers(logs))
        if not there:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
        before = len(run.decisions)
        super().on_epoch_end(epoch, logs)
        reductions = run.decisions[before:]
        # Keras's number, which is one more than what the plugin still lets pass.
        if reductions:
            self.cooldown_counter = self.cooldown
        elif there and self.in_cooldown():
            self.cooldown_counter -= 1
        for reduction in reductions if self.verbose > 0 else ():
            say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {reduction.value}.")


def _skipped(cooldown: int) -> int:
    return max(whole(cooldown) - 1, 0)


class LearningRateScheduler(Face):
    """Keras's `LearningRateScheduler`: `schedule(epoch, learning_rate)` or `schedule(epoch)`, as its signature says."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        # Keras gives the rate to every schedule that can take it, and the plugin only to one that asks for it.
        super().__init__(plugins.LearningRateSchedule(self._with_rate if _takes_rate(schedule) else self._without_rate), verbose)
        self._rate: float | None = None

    def _with_rate(self, epoch: int, learning_rate: float) -> float:
        self._rate = self.schedule(epoch, learning_rate)
        return self._rate

    def _without_rate(self, epoch: int) -> float:
        self._rate = self.schedule(epoch)
        return self._rate

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """The plugin, then Keras's message."""
        super().on_epoch_begin(epoch, logs)
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {self._rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the learning rate, as Keras does."""
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.latest.learning_rate
        super().on_epoch_end(epoch, logs)


def _takes_rate(schedule: Callable[..., float]) -> bool:
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    return True
