"""`keras.callbacks.EarlyStopping`, decided by the plugin."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import keras

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
from hookcore_adapters.keras.snapshot import KerasSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore_adapters.keras.numeric_logs import Logs

_STOPPED: Final = schema.fields({}, {"stopped_epoch": (schema.optional(schema.integer), None)})  # earlier states lack it


class EarlyStopping(PluginCallback):
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
            min_delta=abs(as_number(self, min_delta=min_delta)),
            patience=max(as_count(self, patience=patience), 0),
            mode=mode_or_auto(self, mode),
            baseline=None if baseline is None else as_number(self, baseline=baseline),
            restore_best_weights=bool(restore_best_weights),
            start_from_epoch=max(as_count(self, start_from_epoch=start_from_epoch), 0),
            missing="skip",
        )
        super().__init__(plugin, verbose)
        self.stopped_epoch = 0
        self._stopped_before: int | None = None
        """The epoch at whose end this callback stopped the run that is resumed, or None."""

    monitor = plugin_parameter("monitor")
    min_delta = plugin_parameter("min_delta", abs)
    patience = plugin_parameter("patience")
    mode = plugin_parameter("mode")
    baseline = plugin_parameter("baseline")
    restore_best_weights = plugin_parameter("restore_best_weights")
    start_from_epoch = plugin_parameter("start_from_epoch")
    wait = monitor_field("waited")
    best = monitor_field("best")
    monitor_op = monitor_comparison()
    best_epoch = monitor_field("best_epoch", absent=0)

    @property
    def best_weights(self) -> Any:
        """The weights of the best epoch, as returned by `model.get_weights()`, or None."""

        def without_tensors(value: Any) -> Any:
            return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value

        snapshot = self.plugin.best_weights
        return None if snapshot is None else keras.tree.map_structure(without_tensors, snapshot.values)

    @best_weights.setter
    def best_weights(self, value: Any) -> None:
        self.plugin.best_weights = None if value is None else KerasSnapshot(value)

    @property
    def has_stopped(self) -> bool:
        """Whether it stopped the run that is resumed. More patience lets the run continue."""
        return self._stopped_before is not None and self.wait >= self.patience

    def state_dict(self) -> Mapping[str, Any]:
        stopped = self.stopped_epoch if self.run is not None and self.run.stop_reasons else None
        return {**self.plugin.state_dict(), "stopped_epoch": stopped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._stopped_before = _STOPPED(state)["stopped_epoch"]
        self._begin_stopped_epoch()

    def _begin_stopped_epoch(self) -> None:
        self.stopped_epoch = (self._stopped_before or 0) if self.has_stopped else 0

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._stopped_before = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._begin_stopped_epoch()
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.monitor not in Metrics(numeric_logs(logs)):
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                stacklevel=2,
            )
        super().on_epoch_end(epoch, logs)
        if self.current_run.stop_reasons:
            self.stopped_epoch = epoch

    def on_train_end(self, logs: Logs = None) -> None:
        if self.verbose > 0 and self.stopped_epoch > 0:
            print_message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.verbose > 0 and self.restore_best_weights and self.best_weights is not None:
            print_message(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
        snapshot = self.plugin.best_weights
        super().on_train_end(logs)
        self.plugin.best_weights = snapshot  # scripts read it after training, but the plugin has reset it
