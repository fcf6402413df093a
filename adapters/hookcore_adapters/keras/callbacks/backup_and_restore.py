"""`keras.callbacks.BackupAndRestore`: hookcore checkpoints, and a restart that continues where they were made."""

from __future__ import annotations

import contextlib
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hookcore import CheckpointError, state, store
from hookcore.metrics import Metrics
from hookcore.store.retention import Retention
from hookcore_adapters.keras.callbacks.arguments import local_path, valid_save_freq
from hookcore_adapters.keras.callbacks.batch_counter import BatchCounter, batches_per_epoch
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback
from hookcore_adapters.keras.events import numeric_logs
from hookcore_adapters.keras.skip_batches import BatchSkipper, can_skip_batches
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.events import Logs


class BackupAndRestore(StatefulCallback):
    """Keras's `BackupAndRestore`: same parameters and defaults; its backups are hookcore checkpoints.

    It restores the model with its optimizer and seeds, the epoch, Python's and NumPy's random numbers, and the state of the other
    callbacks of this package in the same `fit`. In an epoch that was cut short, it skips the batches that were trained before, if
    the backend allows that (TensorFlow).
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Literal["epoch"] | int | bool = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        text = "Invalid value for argument `save_freq`. Received: save_freq={}. Expected either 'epoch' or an integer value."
        # Documented to mean that nothing is saved by count; Keras takes it for 0 and saves after every batch.
        self.save_freq = None if save_freq is False else valid_save_freq(text, save_freq)
        self.backup_dir = local_path(backup_dir)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = BatchCounter()
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._step = 0
        self._skipper: BatchSkipper | None = None

    @property
    def _root(self) -> Path:
        return Path(self.backup_dir)

    def on_train_begin(self, logs: Logs = None) -> None:
        del logs
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, you model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
        reason = KerasTrainee(self.model).lacks("checkpoint")
        if reason is not None:
            raise CheckpointError(f"BackupAndRestore: {reason}.")
        self._batches, self._current_epoch, self._last_batch_seen, self._step = BatchCounter(), 0, 0, 0
        if store.available(self._root):
            self._restore(store.newest(self._root))
        elif (self._root / "training_metadata.json").exists():
            warnings.warn(f"{self._root} holds a backup of keras.callbacks.BackupAndRestore, which is not read.", stacklevel=2)

    def _restore(self, backup: store.SavedCheckpoint) -> None:
        trainee = KerasTrainee(self.model)
        trainee.restore(trainee.read(backup.path))
        record = backup.record()
        self._current_epoch, self._step = record["epoch"], backup.step
        # Reset in the next event, or the model's next fit would begin there too.
        self.model._initial_epoch = self._current_epoch  # noqa: SLF001 - the only door that Keras's trainer has
        if record["batches"]:
            self._skip_batches(record["batches"])
        for name, callback in self.named_callbacks().items():
            if name in record["callbacks"]:
                callback.load_state_dict(record["callbacks"][name])

    def _skip_batches(self, batches: int) -> None:
        if not can_skip_batches():
            warnings.warn(
                f"BackupAndRestore: epoch {self._current_epoch + 1} begins again with its first batch, although {batches} of its "
                "batches were trained: on this backend they cannot be skipped.",
                stacklevel=2,
            )
            return
        # Without logs, by which `ModelCheckpoint` knows batches that it has seen.
        self._skipper = BatchSkipper(self.model, batches, lambda batch: {})  # noqa: ARG005

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        del batch, logs
        if self._skipper is not None:
            self._skipper.start()

    def _stop_skipping(self) -> None:
        if self._skipper is not None:
            self._skipper.stop()
            self._skipper = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self._current_epoch = epoch
        self._batches.epoch_begin()
        self.model._initial_epoch = None  # noqa: SLF001

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        del logs
        self._last_batch_seen = batch
        if self._batches.reached(self.save_freq, batch, batches_per_epoch(self)):
            self._save(self._batches.in_epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self._stop_skipping()
        self._current_epoch, self._last_batch_seen = epoch + 1, 0
        if self.save_freq == "epoch":
            callbacks = self.callbacks_of_fit()
            later = [callback for callback in callbacks[callbacks.index(self) + 1 :] if callback.state_dict() is not None]
            if later:  # whose state is not yet that of this epoch's end
                later[-1].after_epoch_end = self._save
            else:
                self._save()

    def _save(self, batches: int = 0) -> None:
        trainee = KerasTrainee(self.model)
        self._step += 1
        record = {
            "epoch": self._current_epoch,
            "batches": batches,
            "callbacks": {name: callback.state_dict() for name, callback in self.named_callbacks().items()},
        }
        retention = Retention(last=2 if self.double_checkpoint else 1)
        store.write(
            self._root,
            epoch=self._current_epoch,
            step=self._step,
            metric=None,
            value=None,
            record=state.dumps(record),
            files=lambda directory: trainee.write(trainee.snapshot(), directory),
            retention=retention,
        )
        store.prune(self._root, retention)

    def on_train_end(self, logs: Logs = None) -> None:
        self._stop_skipping()
        self.model._initial_epoch = None  # noqa: SLF001
        loss = Metrics(numeric_logs(logs)).get("loss", 0.0)
        # If the loss is no number, a backup is the only way back.
        if self.delete_checkpoint and math.isfinite(loss):
            store.clear(self._root)
            with contextlib.suppress(OSError):  # it holds other files, or was never made
                self._root.rmdir()
        super().on_train_end(logs)

    def _backup_file(self, index: int, name: str) -> str:
        """Return the path of the file `name` in the newest backup, index -1, or in the one before it, index -2."""
        backups = store.available(self._root)
        return str(backups[index].path / name) if len(backups) >= -index else str(self._root / "none")

    # Keras's own tests look at these.
    _weights_path = property(lambda self: self._backup_file(-1, MODEL_FILE))
    _training_metadata_path = property(lambda self: self._backup_file(-1, store.RECORD))
    _prev_weights_path = property(lambda self: self._backup_file(-2, MODEL_FILE))
    _prev_training_metadata_path = property(lambda self: self._backup_file(-2, store.RECORD))
