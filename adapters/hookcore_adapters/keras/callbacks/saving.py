"""`keras.callbacks.ModelCheckpoint` and `BackupAndRestore`: the plugins' rules, and the store's durable writing."""

from __future__ import annotations

import contextlib
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import keras

from hookcore import MetricError, Monitor, Run, store
from hookcore.cadence import due
from hookcore.metrics import Metrics, direction_of
from hookcore_adapters.keras.callbacks.face import Listed, comparison, known_mode, local, numbers, say
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

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
        self.save_freq = _known_frequency(
            "Unrecognized save_freq: {}. Expected save_freq are 'epoch' or integer values", save_freq
        )
        self.best = initial_value_threshold
        self._watch: Monitor | None = None
        self._batches = _Batches()
        self._epoch = 0
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            kind = "When using `save_weights_only=True` in `ModelCheckpoint`, the" if save_weights_only else "The"
            wanted = "`.weights.h5` (Keras weights format)" if save_weights_only else "`.keras` (Keras model format)"
            msg = f"{kind} filepath provided must end in {wanted}. Received: filepath={self.filepath}"
            raise ValueError(msg)

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
        self._batches = _Batches(total=state["batches"])

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
        if self._batches.reached(self.save_freq, batch, _length(self)) and logs != {}:
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
            msg = f"Please specify a non-directory filepath for ModelCheckpoint. Filepath used is an existing directory: {path}"
            raise OSError(msg) from error
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _path(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        numbers = {"epoch": epoch + 1} | ({} if batch is None or "batch" in logs else {"batch": batch + 1})
        try:
            return self.filepath.format(**{**logs, **numbers})
        except KeyError as error:
            msg = f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}'
            raise KeyError(msg) from error

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


class BackupAndRestore(Listed):
    """Keras's `BackupAndRestore`: same parameters and defaults; what it keeps are hookcore checkpoints.

    It restores the model with its optimizer, the epoch, and the state of the other callbacks of this package in the same `fit`.
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
            msg = "Empty `backup_dir` argument passed"
            raise ValueError(msg)
        text = "Invalid value for argument `save_freq`. Received: save_freq={}. Expected either 'epoch' or an integer value."
        # Documented to mean that nothing is saved by count; Keras takes it for 0 and saves after every batch.
        self.save_freq = None if save_freq is False else _known_frequency(text, save_freq)
        self.backup_dir = local(backup_dir)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = _Batches()
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._step = 0
        self._left = 0
        self._train: Any = None

    @property
    def _root(self) -> Path:
        return Path(self.backup_dir)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Go on from the newest backup that verifies, if there is any."""
        del logs
        if not self.model.built:
            msg = (
                "To use the BackupAndRestore callback, you model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
            raise ValueError(msg)
        self._batches, self._current_epoch, self._last_batch_seen, self._step, self._left = _Batches(), 0, 0, 0, 0
        if store.available(self._root):
            self._restore(store.newest(self._root))
        elif (self._root / "training_metadata.json").exists():
            warnings.warn(f"{self._root} holds a backup of keras.callbacks.BackupAndRestore, which is not read.", stacklevel=2)

    def _restore(self, backup: store.SavedCheckpoint) -> None:
        KerasTrainee(self.model).read(backup.path)
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
        if keras.backend.backend() != "tensorflow":
            warnings.warn(
                f"BackupAndRestore: epoch {self._current_epoch + 1} begins again with its first batch, although {batches} of its "
                "batches were trained: on this backend they cannot be passed over.",
                stacklevel=2,
            )
            return
        self._left = batches

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Have the next batches passed over, where they were trained before."""
        del batch, logs
        if self._left > 0:
            self._train = self.model.train_function
            self.model.train_function = self._pass_over

    def _pass_over(self, iterator: Any) -> dict[str, Any]:
        for _ in range(min(self._left, self.model.steps_per_execution)):
            next(iterator)
            self._left -= 1
        return {}

    def _train_again(self) -> None:
        if self._train is not None:
            self.model.train_function, self._train = self._train, None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Leave no trace in the model."""
        del logs
        self._current_epoch = epoch
        self._batches.epoch_begins()
        self.model._initial_epoch = None  # noqa: SLF001

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save where a multiple of `save_freq` batches was reached."""
        del logs
        self._train_again()
        self._last_batch_seen = batch
        if self._batches.reached(self.save_freq, batch, _length(self)):
            self._save(self._batches.in_epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save where epochs are to be saved."""
        del logs
        self._train_again()
        self._current_epoch, self._last_batch_seen, self._left = epoch + 1, 0, 0
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
        store.open_directory(self._root)
        store.write(
            self._root,
            epoch=self._current_epoch,
            step=self._step,
            metric=None,
            value=None,
            run=record,
            files=lambda directory: trainee.write(trainee.snapshot(), directory),
        )
        store.prune(self._root, store.available(self._root)[-2 if self.double_checkpoint else -1 :])

    def on_train_end(self, logs: Logs = None) -> None:
        """Remove the backups, and only them, unless the loss is no number: then they are what there is to go back to."""
        self._train_again()
        self.model._initial_epoch = None  # noqa: SLF001
        loss = Metrics(numbers(logs)).get("loss", 0.0)
        if self.delete_checkpoint and math.isfinite(loss):
            store.prune(self._root, ())
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


@attrs.define
class _Batches:
    """Counts batches over epochs. Keras gives the number of an execution's last batch, which may lie past the epoch's end."""

    total: int = 0
    in_epoch: int = 0

    def epoch_begins(self) -> None:
        self.in_epoch = 0

    def reached(self, every: Literal["epoch"] | int | None, batch: int, length: int | None) -> bool:
        """Count the batches up to `batch`, and say whether they reached a multiple of `every`."""
        done = batch + 1 if length is None else min(batch + 1, length)
        if done <= self.in_epoch:  # driven without on_epoch_begin
            self.in_epoch = 0
        before = self.total
        self.total += done - self.in_epoch
        self.in_epoch = done
        return isinstance(every, int) and due(every, self.total, before)


def _length(callback: Any) -> int | None:
    steps = (callback.params or {}).get("steps")
    return None if steps is None else int(steps)


def _known_frequency(text: str, value: Any) -> Literal["epoch"] | int:
    if value == "epoch":
        return "epoch"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(text.format(value))
    return value
