"""`keras.callbacks.ModelCheckpoint`: the plugins' rules, and the store's durable writing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore import MetricError, Monitor, Run, store
from hookcore.metrics import Metrics
from hookcore.observing import direction_of
from hookcore_adapters.keras.callbacks.batches import Batches, known_frequency, length_of
from hookcore_adapters.keras.callbacks.face import Listed, comparison, known_mode, local, numbers, say
from hookcore_adapters.keras.trainee import KerasTrainee

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from hookcore_adapters.keras.callbacks.face import Logs


class ModelCheckpoint(Listed):
    """Keras's `ModelCheckpoint`: same parameters, defaults and file names. Each file is replaced as a whole, or not at all."""

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
        self.filepath = local(filepath)
        self.monitor = monitor
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.mode = known_mode(self, mode)
        self.save_freq = known_frequency(
            "Unrecognized save_freq: {}. Expected save_freq are 'epoch' or integer values", save_freq
        )
        self.best = initial_value_threshold
        self._watch: Monitor | None = None
        self._batches = Batches()
        self._epoch = 0
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            kind = "When using `save_weights_only=True` in `ModelCheckpoint`, the" if save_weights_only else "The"
            wanted = "`.weights.h5` (Keras weights format)" if save_weights_only else "`.keras` (Keras model format)"
            raise ValueError(f"{kind} filepath provided must end in {wanted}. Received: filepath={self.filepath}")

    @property
    def monitor_op(self) -> Any:
        """`keras.ops.less` or `greater`; None before the first comparison."""
        return comparison(self._watch)

    def state_dict(self) -> Mapping[str, Any]:
        """The best value, and the batches seen in earlier epochs."""
        return {"best": self.best, "batches": self._batches.total - self._batches.in_epoch}

    def carry(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; an epoch that goes on in the middle is counted again from its first batch."""
        self.best = state["best"]
        self._batches = Batches(total=state["batches"])

    def on_train_begin(self, logs: Logs = None) -> None:
        """Settle the direction, so that an unknown one is refused before anything is trained."""
        del logs
        if self.save_best_only:
            self._watch = self._watch or self._make_watch()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember the epoch, for the names of files saved within it."""
        del logs
        self._epoch = epoch
        self._batches.epoch_begins()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save where a multiple of `save_freq` batches was reached."""
        # A batch that `BackupAndRestore` passes over was trained, and saved, before: it has no logs.
        if self._batches.reached(self.save_freq, batch, length_of(self)) and logs != {}:
            self._save(self._epoch, self._batches.in_epoch - 1, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save where epochs are to be saved."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})
        self.epoch_ended()

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
            say(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _path(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        numbers = {"epoch": epoch + 1} | ({} if batch is None or "batch" in logs else {"batch": batch + 1})
        try:
            return self.filepath.format(**{**logs, **numbers})
        except KeyError as error:
            raise KeyError(f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}') from error

    def _is_due(self, epoch: int, logs: Mapping[str, Any], path: str) -> bool:
        prefix = f"\nEpoch {epoch + 1}: "
        if not self.save_best_only:
            if self.verbose > 0:
                say(f"{prefix}saving model to {path}")
            return True
        if logs.get(self.monitor) is None:
            warnings.warn(f"Can save best model only with {self.monitor} available.", stacklevel=2)
            return True
        metrics = Metrics(numbers(logs))
        if self.monitor not in metrics:
            warnings.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {logs[self.monitor]}. "
                "Falling back to `save_best_only=False`.",
                stacklevel=2,
            )
            return True
        return self._improves(metrics[self.monitor], prefix, path)

    def _improves(self, value: float, prefix: str, path: str) -> bool:
        watch = attrs.evolve(self._watch or self._make_watch(), best=self.best)
        before = "None" if watch.best is None else f"{watch.best:.5f}"
        self._watch = watch = watch.observe(value, self._epoch)
        self.best = watch.best
        if self.verbose > 0 and watch.waited == 0:
            say(f"{prefix}{self.monitor} improved from {before} to {value:.5f}, saving model to {path}")
        elif self.verbose > 0:
            say(f"{prefix}{self.monitor} did not improve from {before}")
        return watch.waited == 0

    def _make_watch(self) -> Monitor:
        try:
            return Monitor(direction_of(Run("ModelCheckpoint", KerasTrainee(self.model)), self.monitor, self.mode))
        except MetricError as error:
            raise ValueError(*error.args) from error
