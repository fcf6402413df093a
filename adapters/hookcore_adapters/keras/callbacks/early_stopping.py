"""`keras.callbacks.EarlyStopping`, decided by the plugin."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras

import hookcore_plugins as plugins
from hookcore import Metrics
from hookcore_adapters.keras.callbacks.face import Face, comparison, known_mode, numbers, observed, parameter, say, whole
from hookcore_adapters.keras.trainee import KerasSnapshot

if TYPE_CHECKING:
    from hookcore_adapters.keras.callbacks.face import Logs


class EarlyStopping(Face):
    """Keras's `EarlyStopping`: same parameters, defaults and attributes."""

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        plugin = plugins.EarlyStopping(
            monitor,
            min_delta=abs(float(min_delta)),
            patience=max(whole(patience), 0),
            mode=known_mode(self, mode),
            baseline=None if baseline is None else float(baseline),
            restore_best_weights=bool(restore_best_weights),
            start_from_epoch=max(whole(start_from_epoch), 0),
            missing="skip",
        )
        super().__init__(plugin, verbose)
        self.stopped_epoch = 0

    monitor = parameter("monitor")
    min_delta = parameter("min_delta", abs)
    patience = parameter("patience")
    mode = parameter("mode")
    baseline = parameter("baseline")
    restore_best_weights = parameter("restore_best_weights")
    start_from_epoch = parameter("start_from_epoch")
    wait = observed("waited")
    best = observed("best")
    best_epoch = observed("best_epoch", absent=0)

    @property
    def best_weights(self) -> Any:
        """The best epoch's weights, as `model.get_weights()` gave them, or None."""

        def given(value: Any) -> Any:
            return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value

        kept = self.plugin.best_weights
        return None if kept is None else keras.tree.map_structure(given, kept.values)

    @best_weights.setter
    def best_weights(self, value: Any) -> None:
        self.plugin.best_weights = None if value is None else KerasSnapshot(value)

    @property
    def monitor_op(self) -> Any:
        """`keras.ops.less` or `greater`; None before training."""
        return comparison(self.plugin.observed if self.run is not None else None)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keras's."""
        self.stopped_epoch = 0
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keras's warning where the metric is missing, then the plugin."""
        logs = logs or {}
        if self.monitor not in Metrics(numbers(logs)):
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                stacklevel=2,
            )
        super().on_epoch_end(epoch, logs)
        if self.latest.stop_reasons:
            self.stopped_epoch = epoch

    def on_train_end(self, logs: Logs = None) -> None:
        """Keras's messages, then the plugin."""
        if self.verbose > 0 and self.stopped_epoch > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.verbose > 0 and self.restore_best_weights and self.best_weights is not None:
            say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
        kept = self.plugin.best_weights
        super().on_train_end(logs)
        self.plugin.best_weights = kept  # where scripts look for them
