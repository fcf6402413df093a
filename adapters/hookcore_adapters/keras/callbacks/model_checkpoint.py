"""`keras.callbacks.ModelCheckpoint`, with the plugins' comparison and the store's durable writing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from hookcore import MetricError, Monitor, Run, schema, store
from hookcore.metrics import Metrics
from hookcore.observing import direction_of
from hookcore_adapters.keras.callbacks.arguments import local_path, mode_or_auto, valid_save_freq
from hookcore_adapters.keras.callbacks.batch_counter import BatchCounter, batches_per_epoch
from hookcore_adapters.keras.callbacks.plugin_callback import comparison, print_message
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback
from hookcore_adapters.keras.numeric_logs import numeric_logs
from hookcore_adapters.keras.trainee import KerasTrainee

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from hookcore_adapters.keras.numeric_logs import Logs

_STATE: Final = schema.fields({"best": schema.optional(schema.number), "batches": schema.integer, "in_epoch": schema.integer})


class ModelCheckpoint(StatefulCallback):
    """Keras's `ModelCheckpoint`: same parameters, defaults and file names. Each file is replaced completely or not at all."""

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Literal["epoch"] | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.filepath = local_path(filepath)
        self.monitor = monitor
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.mode = mode_or_auto(self, mode)
        self.save_freq = valid_save_freq(
            "Unrecognized save_freq: {}. Expected save_freq are 'epoch' or integer values", save_freq
        )
        self.best = initial_value_threshold
        self._best_monitor: Monitor | None = None
        self._batches = BatchCounter()
        self._epoch = 0
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            kind = "When using `save_weights_only=True` in `ModelCheckpoint`, the" if save_weights_only else "The"
            wanted = "`.weights.h5` (Keras weights format)" if save_weights_only else "`.keras` (Keras model format)"
            raise ValueError(f"{kind} filepath provided must end in {wanted}. Received: filepath={self.filepath}")

    @property
    def monitor_op(self) -> Any:
        """`keras.ops.less` or `greater`; None before the first comparison."""
        return comparison(self._best_monitor)

    def state_dict(self) -> Mapping[str, Any]:
        return {"best": self.best, **self._batches.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own = _STATE(state)
        self.best, self._batches = own["best"], BatchCounter.from_state_dict(own)

    def on_train_begin(self, logs: Logs = None) -> None:
        del logs
        if self.save_best_only:  # now, so that an unknown direction is refused before training
            self._best_monitor = self._best_monitor or self._make_monitor()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self._epoch = epoch
        self._batches.epoch_begin()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._batches.reached(self.save_freq, batch, batches_per_epoch(self)):
            self._save(self._epoch, self._batches.in_epoch - 1, logs or {})
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})
        super().on_epoch_end(epoch, logs)

    def _save(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> None:
        path = self._path(epoch, batch, logs)
        if not self._is_due(epoch, logs, path):
            return
        save = self.model.save_weights if self.save_weights_only else self.model.save
        try:
            store.write_file(Path(path), save)
        except IsADirectoryError as error:
            raise OSError(
                f"Please specify a non-directory filepath for ModelCheckpoint. Filepath used is an existing directory: {path}"
            ) from error
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _path(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        counts = {"epoch": epoch + 1} | ({} if batch is None or "batch" in logs else {"batch": batch + 1})
        try:
            return self.filepath.format(**{**logs, **counts})
        except KeyError as error:
            raise KeyError(f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}') from error

    def _is_due(self, epoch: int, logs: Mapping[str, Any], path: str) -> bool:
        prefix = f"\nEpoch {epoch + 1}: "
        if not self.save_best_only:
            if self.verbose > 0:
                print_message(f"{prefix}saving model to {path}")
            return True
        if logs.get(self.monitor) is None:
            warnings.warn(f"Can save best model only with {self.monitor} available.", stacklevel=2)
            return True
        metrics = Metrics(numeric_logs(logs))
        if self.monitor not in metrics:
            warnings.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {logs[self.monitor]}. "
                "Falling back to `save_best_only=False`.",
                stacklevel=2,
            )
            return True
        return self._improves(metrics[self.monitor], prefix, path)

    def _improves(self, value: float, prefix: str, path: str) -> bool:
        monitor = attrs.evolve(self._best_monitor or self._make_monitor(), best=self.best)
        before = "None" if monitor.best is None else f"{monitor.best:.5f}"
        self._best_monitor = monitor = monitor.observe(value, self._epoch)
        self.best = monitor.best
        if self.verbose > 0 and monitor.waited == 0:
            print_message(f"{prefix}{self.monitor} improved from {before} to {value:.5f}, saving model to {path}")
        elif self.verbose > 0:
            print_message(f"{prefix}{self.monitor} did not improve from {before}")
        return monitor.waited == 0

    def _make_monitor(self) -> Monitor:
        try:
            return Monitor(direction_of(Run.of(KerasTrainee(self.model)).as_plugin("ModelCheckpoint"), self.monitor, self.mode))
        except MetricError as error:
            raise ValueError(*error.args) from error
