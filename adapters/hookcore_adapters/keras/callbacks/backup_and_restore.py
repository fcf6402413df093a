"""`keras.callbacks.BackupAndRestore`: hookcore checkpoints, and a restart that goes on where they were made."""

from __future__ import annotations

import contextlib
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hookcore import state, store
from hookcore.metrics import Metrics
from hookcore.store.retention import Retention
from hookcore_adapters.keras.callbacks.batches import Batches, known_frequency, length_of
from hookcore_adapters.keras.callbacks.face import Listed, local, numbers
from hookcore_adapters.keras.pass_over import PassOver, can_pass_over
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.callbacks.face import Logs


class BackupAndRestore(Listed):
    """Keras's `BackupAndRestore`: same parameters and defaults; what it keeps are hookcore checkpoints.

    It restores the model with its optimizer and seeds, the epoch, Python's and NumPy's random numbers, and the state of the other
    callbacks of this package in the same `fit`.
    Of an epoch that was cut short, the batches that were trained are passed over, where the backend lets them be (TensorFlow).
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
        self.save_freq = None if save_freq is False else known_frequency(text, save_freq)
        self.backup_dir = local(backup_dir)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = Batches()
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._step = 0
        self._passing: PassOver | None = None

    @property
    def _root(self) -> Path:
        return Path(self.backup_dir)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Go on from the newest backup that verifies, if there is any."""
        del logs
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, you model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
        self._batches, self._current_epoch, self._last_batch_seen, self._step = Batches(), 0, 0, 0
        if store.available(self._root):
            self._restore(store.newest(self._root))
        elif (self._root / "training_metadata.json").exists():
            warnings.warn(f"{self._root} holds a backup of keras.callbacks.BackupAndRestore, which is not read.", stacklevel=2)

    def _restore(self, backup: store.SavedCheckpoint) -> None:
        trainee = KerasTrainee(self.model)
        trainee.restore(trainee.read(backup.path))
        record = backup.record()
        self._current_epoch, self._step = record["epoch"], backup.step
        # Taken back in the next event, or the model's next fit would begin there too.
        self.model._initial_epoch = self._current_epoch  # noqa: SLF001 - the only door that Keras's trainer has
        if record["batches"]:
            self._skip(record["batches"])
        for name, callback in self.stateful().items():
            if name in record["callbacks"]:
                callback.carry(record["callbacks"][name])

    def _skip(self, batches: int) -> None:
        """Let the first `batches` of the epoch go by untrained: they were trained before."""
        if not can_pass_over():
            warnings.warn(
                f"BackupAndRestore: epoch {self._current_epoch + 1} begins again with its first batch, although {batches} of its "
                "batches were trained: on this backend they cannot be passed over.",
                stacklevel=2,
            )
            return
        # With no logs, by which `ModelCheckpoint` knows batches that it has seen.
        self._passing = PassOver(self.model, batches, lambda batch: {})  # noqa: ARG005

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Have the next batches passed over, where they were trained before."""
        del batch, logs
        if self._passing is not None:
            self._passing.start()

    def _train_again(self) -> None:
        if self._passing is not None:
            self._passing.stop()
            self._passing = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Leave no trace in the model."""
        del logs
        self._current_epoch = epoch
        self._batches.epoch_begins()
        self.model._initial_epoch = None  # noqa: SLF001

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save where a multiple of `save_freq` batches was reached."""
        del logs
        self._last_batch_seen = batch
        if self._batches.reached(self.save_freq, batch, length_of(self)):
            self._save(self._batches.in_epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save where epochs are to be saved."""
        del logs
        self._train_again()
        self._current_epoch, self._last_batch_seen = epoch + 1, 0
        if self.save_freq == "epoch":
            listed = self.listed()
            later = [one for one in listed[listed.index(self) + 1 :] if one.state_dict() is not None]
            if later:  # whose state is not yet that of this epoch's end
                later[-1].afterwards = self._save
            else:
                self._save()

    def _save(self, batches: int = 0) -> None:
        trainee = KerasTrainee(self.model)
        self._step += 1
        record = {
            "epoch": self._current_epoch,
            "batches": batches,
            "callbacks": {name: callback.state_dict() for name, callback in self.stateful().items()},
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
        """Remove the backups, and only them, unless the loss is no number: then they are what there is to go back to."""
        self._train_again()
        self.model._initial_epoch = None  # noqa: SLF001
        loss = Metrics(numbers(logs)).get("loss", 0.0)
        if self.delete_checkpoint and math.isfinite(loss):
            store.clear(self._root)
            with contextlib.suppress(OSError):  # it holds something of somebody else's, or was never made
                self._root.rmdir()

    def _backup(self, place: int, name: str) -> str:
        """The file of the newest backup (-1) or the one before it (-2)."""
        backups = store.available(self._root)
        return str(backups[place].path / name) if len(backups) >= -place else str(self._root / "none")

    # Keras's own tests look at these.
    _weights_path = property(lambda self: self._backup(-1, MODEL_FILE))
    _training_metadata_path = property(lambda self: self._backup(-1, store.RECORD))
    _prev_weights_path = property(lambda self: self._backup(-2, MODEL_FILE))
    _prev_training_metadata_path = property(lambda self: self._backup(-2, store.RECORD))
