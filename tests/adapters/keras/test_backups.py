"""`BackupAndRestore` as a drop-in: one `fit` at a time backs up into a directory, and a failed one does not block the next."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import CheckpointError, state, store
from hookcore_adapters.keras.callbacks import BackupAndRestore, EarlyStopping
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IN_USE = r"The checkpoint directory .* is in use: there is a lock .*, held by process \d+ on \S+, which is this one\. Stop that"


class At(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Calls `then` in an epoch, in the method of that name, and counts the batches."""

    def __init__(self, epoch: int, then: Callable[[], object], hook: str = "on_epoch_end") -> None:
        super().__init__()
        self.batches = 0
        setattr(self, hook, lambda number, logs=None: then() if number == epoch else None)  # noqa: ARG005 - Keras's

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.batches += 1


def model() -> Any:
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def fit(*callbacks: Any, of: Any = None, epochs: int = 3) -> Any:
    made = model() if of is None else of
    return made.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=2, epochs=epochs, verbose=0, callbacks=[*callbacks])


def raises() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
@pytest.mark.parametrize("thread", [False, True])
def test_a_second_live_fit_is_refused_before_its_first_batch(tmp_path: Path, hook: str, *, thread: bool) -> None:
    """A second fit, within the first or on another thread, is refused with the message of the lock, and the first continues."""
    errors: list[str] = []
    beside = At(0, lambda: None)

    def other() -> None:
        try:
            fit(BackupAndRestore(tmp_path), beside)
        except CheckpointError as error:
            errors.append(str(error))

    def on_a_thread() -> None:
        one = threading.Thread(target=other)
        one.start()
        one.join(PATIENCE)

    first = BackupAndRestore(tmp_path, delete_checkpoint=False)
    fit(first, At(1, on_a_thread if thread else other, hook))
    assert len(errors) == 1
    with pytest.raises(CheckpointError, match=IN_USE):
        raise CheckpointError(errors[0])
    assert beside.batches == 0
    assert store.newest(tmp_path).record()["epoch"] == 3
    assert not (tmp_path / ".lock").exists()
    fit(BackupAndRestore(tmp_path))
    assert not tmp_path.exists()


@pytest.mark.parametrize("again", ["new", "same callback", "same model"])
@pytest.mark.parametrize("thread", [False, True])
def test_a_fit_that_broke_gives_way(tmp_path: Path, again: str, *, thread: bool) -> None:
    """After a fit that failed, whose exception a notebook still holds, the next fit restores the backup and trains the rest."""
    callback, of, kept = BackupAndRestore(tmp_path), model(), []

    def breaks() -> None:
        try:
            fit(callback, At(2, raises, "on_epoch_begin"), of=of)
        except ZeroDivisionError as error:
            kept.append(error)

    if thread:
        one = threading.Thread(target=breaks)
        one.start()
        one.join(PATIENCE)
    else:
        breaks()
    assert kept
    counting = At(-1, lambda: None)
    fit(callback if again == "same callback" else BackupAndRestore(tmp_path), counting, of=of if again == "same model" else None)
    assert counting.batches == 2
    assert not tmp_path.exists()


def test_a_fit_whose_directory_another_has_by_now_removes_nothing(tmp_path: Path) -> None:
    """If the directory was removed and another fit uses it, the next save is refused, and the other's backups are kept."""
    root = tmp_path / "backup"
    lock: list[store.Lock] = []

    def take() -> None:
        root.rename(tmp_path / "moved")
        lock.append(store.lock(root))

    with pytest.raises(CheckpointError, match="is no longer this run's"):
        fit(BackupAndRestore(root), At(1, take, "on_epoch_begin"))
    fit(BackupAndRestore(tmp_path / "moved", save_freq=False), At(1, lambda: (tmp_path / "moved").rename(tmp_path / "again")))
    assert store.available(tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": "1"}, "it does not fit: epoch must be a whole number of at least 0, got '1'"),
        ({"batches": -1}, "it does not fit: batches must be a whole number of at least 0, got -1"),
        ({"callbacks": []}, r"it does not fit: callbacks must be an object, got \[\]"),
        (
            {"callbacks": {"EarlyStopping_1": {"best": "x"}}},
            "the state of EarlyStopping_1 does not fit: best_epoch must be present",
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_backup_that_does_not_fit_is_refused_before_the_model_is_restored(
    tmp_path: Path, change: dict[str, Any], message: str, *, first: bool
) -> None:
    """An invalid backup is an error that names the field, in any order of callbacks, and the model is not changed."""
    backup, stopping = BackupAndRestore(tmp_path), EarlyStopping("loss", patience=9)
    with pytest.raises(ZeroDivisionError):
        fit(backup, stopping, At(2, raises, "on_epoch_begin"))
    saved = store.newest(tmp_path)
    arrays = {path.name: path.read_bytes() for path in saved.path.iterdir() if path.name not in {"run.json", "manifest.json"}}
    store.write(
        tmp_path,
        epoch=saved.epoch,
        step=saved.step + 1,
        metric=None,
        value=None,
        record=state.dumps(json.loads(saved.record_text()) | change),
        files=lambda place: [(place / name).write_bytes(content) for name, content in arrays.items()],
    )
    untouched = model()
    before = untouched.get_weights()
    callbacks = [BackupAndRestore(tmp_path), EarlyStopping("loss", patience=9)]
    with pytest.raises(CheckpointError, match=f"The backup .* cannot be restored: {message}"):
        fit(*(callbacks if first else reversed(callbacks)), of=untouched)
    assert all(np.array_equal(*pair) for pair in zip(before, untouched.get_weights(), strict=True))
