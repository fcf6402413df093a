"""`keras.callbacks.BackupAndRestore`, with hookcore's checkpoints as backups."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from hookcore import CheckpointError, Position, schema, state, store
from hookcore.metrics import Metrics
from hookcore.stacks import is_executing
from hookcore.store.retention import Retention
from hookcore_adapters.keras.callback_states import calling_list, have_stopped, restore_state
from hookcore_adapters.keras.callbacks.arguments import local_path, valid_save_freq
from hookcore_adapters.keras.callbacks.batch_counter import BatchCounter, batches_per_epoch
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback
from hookcore_adapters.keras.data import generators_of_fit
from hookcore_adapters.keras.epoch_state import EpochState
from hookcore_adapters.keras.held_weights import TraineeBesideCallbacks, held_weights_of, read_held_weights
from hookcore_adapters.keras.numeric_logs import numeric_logs
from hookcore_adapters.keras.resuming import Resuming
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from hookcore_adapters.keras.numeric_logs import Logs

_RECORD: Final = schema.fields(
    {
        "epoch": schema.integer,
        "batches": schema.integer,
        "callbacks": schema.mapping_of(schema.anything),
        "loop": schema.mapping_of(schema.anything),
    }
)


class BackupAndRestore(StatefulCallback):
    """Keras's `BackupAndRestore`: same parameters and defaults; its backups are hookcore checkpoints.

    It restores the model with its optimizer and seeds, the epoch, the random state, and the state of the other callbacks of this
    package in the same `fit`. In an interrupted epoch, it skips the batches that were trained. While one `fit` backs up into a
    directory, another is refused before its first batch.
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
        # By its documentation, False disables saving by count, but Keras reads it as 0 and saves after every batch.
        self.save_freq = None if save_freq is False else valid_save_freq(text, save_freq)
        self.backup_dir = local_path(backup_dir)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = BatchCounter()
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._step = 0
        self._generators: list[Any] = []
        """The PyTorch generators from which the data draw, except the global one."""
        self._resuming = Resuming()
        self._logs: Logs = None
        """The logs of the latest batch."""
        self._lock: store.Lock | None = None

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
        self._resuming.clean_up()
        self._generators = generators_of_fit()
        self._resuming = Resuming(self.model, generators=self._generators)
        caller = calling_list() or self
        self._lock = store.lock(self._root, functools.partial(_is_over, weakref.ref(caller), threading.current_thread()))
        if store.available(self._root):
            self._restore(store.newest(self._root))
        elif (self._root / "training_metadata.json").exists():
            warnings.warn(f"{self._root} holds a backup of keras.callbacks.BackupAndRestore, which is not read.", stacklevel=2)

    def _restore(self, backup: store.SavedCheckpoint) -> None:
        trainee = KerasTrainee(self.model)
        snapshot, held = trainee.read(backup.path), read_held_weights(trainee, backup.path)
        field = "it"
        try:
            record = _RECORD(backup.record())
            if record["batches"]:
                EpochState.from_state_dict(record["loop"].get("epoch", {}))
            for name, callback in self.named_callbacks().items():
                if name in record["callbacks"]:
                    field = f"the state of {name}"
                    restore_state(callback, record["callbacks"][name], held.get(name, {}))
        except ValueError as error:
            raise CheckpointError(f"The backup {backup.path} cannot be restored: {field} does not fit: {error}.") from error
        trainee.restore(snapshot)
        self._current_epoch, self._step = record["epoch"], backup.step
        position = Position(self._current_epoch, record["batches"])
        self._resuming = Resuming(self.model, position, self._generators)
        self._batches = BatchCounter(before=position.batch)  # the skipped batches are not counted again
        nothing_left = have_stopped(self.named_callbacks().values()) and not position.batch
        self._resuming.choose_first_epoch(record["loop"], None, nothing_left=nothing_left)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self._resuming.begin_epoch()
        if self._resuming.is_waiting:
            self._resuming.skip_trained_batches(
                batches_per_epoch(self), each=lambda: None, stops=lambda: bool(self.model.stop_training)
            )
        else:
            self._resuming = Resuming(self.model, generators=self._generators)
        self._current_epoch, self._logs = epoch, None
        self._batches.epoch_begin()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        del batch, logs
        self._resuming.begin_skipping()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._resuming.end_skipping()
        self._last_batch_seen, self._logs = batch, logs
        if self._batches.reached(self.save_freq, batch, batches_per_epoch(self)):
            self._save_after_others(self._batches.in_epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        del logs
        self._resuming.end_epoch()
        self._current_epoch, self._last_batch_seen = epoch + 1, 0
        if self.save_freq == "epoch":
            self._save_after_others()

    def _save_after_others(self, batches: int = 0) -> None:
        callbacks = self.callbacks_of_fit()
        later = [callback for callback in callbacks[callbacks.index(self) + 1 :] if callback.state_dict() is not None]
        if later:  # they have not updated their state yet
            later[-1].afterwards = functools.partial(self._save, batches)
        else:
            self._save(batches)

    def _save(self, batches: int = 0) -> None:
        trainee = TraineeBesideCallbacks(self.model, held=lambda: held_weights_of(self.named_callbacks()))
        self._step += 1
        record = {
            "epoch": self._current_epoch,
            "batches": batches,
            "callbacks": {name: callback.state_dict() for name, callback in self.named_callbacks().items()},
            "loop": self._resuming.state_dict(numeric_logs(self._logs), within=batches > 0),
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
            lock=self._lock,
        )
        store.prune(self._root, retention)

    def on_train_end(self, logs: Logs = None) -> None:
        self._resuming.clean_up()
        loss = Metrics(numeric_logs(logs)).get("loss", 0.0)
        # If the loss is NaN or infinite, the backup may be the only usable state. If another run has locked the directory since,
        # its backups must not be deleted.
        deletes = self.delete_checkpoint and math.isfinite(loss) and self._lock is not None and self._lock.holds
        try:
            if deletes:
                store.clear(self._root)
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None
        if deletes:
            with contextlib.suppress(OSError):  # not empty, or used by another run
                self._root.rmdir()
        self._resuming, self._generators, self._logs = Resuming(), [], None
        super().on_train_end(logs)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_generators": [], "_resuming": Resuming(), "_logs": None}

    def _backup_file(self, index: int, name: str) -> str:
        """Return the path of the file `name` in the newest backup (`index` -1), or in the one before (`index` -2)."""
        backups = store.available(self._root)
        return str(backups[index].path / name) if len(backups) >= -index else str(self._root / "none")

    # Keras's own tests use these.
    _weights_path = property(lambda self: self._backup_file(-1, MODEL_FILE))
    _training_metadata_path = property(lambda self: self._backup_file(-1, store.RECORD))
    _prev_weights_path = property(lambda self: self._backup_file(-2, MODEL_FILE))
    _prev_training_metadata_path = property(lambda self: self._backup_file(-2, store.RECORD))


def _is_over(caller: Callable[[], Any], thread: threading.Thread) -> bool:
    """Return whether a `fit` is over, as far as is known, because Keras does not report exceptions to callbacks.

    `caller` returns the list that called the callbacks, or None after it was deleted with its `fit`. `thread` is the thread that
    trained.
    """
    calls = caller()
    if calls is None or not thread.is_alive():
        return True
    return thread is threading.current_thread() and not is_executing(calls, besides=())
