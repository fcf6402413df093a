"""The files of the drop-in TensorBoard are the same for a resumed run as for an uninterrupted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import keras
import pytest

from hookcore_adapters.keras import KerasAdapter, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint
from tests.plugins.tensorboard.event_files import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGUMENTS: Final[dict[str, Any]] = {"batch_size": 6, "epochs": 3, "validation_split": 0.25, "shuffle": False, "verbose": 0}
BATCHES: Final = 3
Saved: TypeAlias = "tuple[Path, int | None]"
"""The directory of backups or checkpoints, and the number of batches between them, or None for each epoch."""


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends a run after a number of batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.left -= 1
        if not self.left:
            raise InterruptedError


def backup_first(model: Any, data: Any, board: Any, others: list[Any], saved: Saved) -> None:
    directory, every = saved
    backup = callbacks.BackupAndRestore(directory, save_freq=every or "epoch")
    model.fit(*data, callbacks=[backup, board, *others], **ARGUMENTS)


def backup_last(model: Any, data: Any, board: Any, others: list[Any], saved: Saved) -> None:
    directory, every = saved
    backup = callbacks.BackupAndRestore(directory, save_freq=every or "epoch")
    model.fit(*data, callbacks=[board, backup, *others], **ARGUMENTS)


def beside(model: Any, data: Any, board: Any, others: list[Any], saved: Saved) -> None:
    directory, every = saved
    checkpoint = Checkpoint(directory, every_n_steps=every)
    fit(model, *data, callbacks=[board, *others], plugins=[checkpoint], resume="auto", **ARGUMENTS)


def hosted(model: Any, data: Any, board: Any, others: list[Any], saved: Saved) -> None:
    directory, every = saved
    checkpoint = Checkpoint(directory, every_n_steps=every)
    fit(model, *data, callbacks=others, plugins=[from_keras(board), checkpoint], resume="auto", **ARGUMENTS)


def before_the_adapter(model: Any, data: Any, board: Any, others: list[Any], saved: Saved) -> None:
    directory, every = saved
    adapter = KerasAdapter([Checkpoint(directory, every_n_steps=every)], resume="auto")
    model.fit(*data, callbacks=[board, *others, adapter], **ARGUMENTS)


def logged(directory: Path) -> dict[str, Any]:
    """Return the events to compare, without the model, whose names differ, and without speeds."""
    runs = {run: read(directory / run) for run in ("train", "validation")}
    return {
        f"{run}/{tag}": [step for step, _ in values] if "per_second" in tag or tag == "keras" else values
        for run, found in runs.items()
        for tag, values in found.items()
    }


@pytest.mark.parametrize("train", [backup_first, backup_last, beside, hosted, before_the_adapter])
@pytest.mark.parametrize("every", [None, 1], ids=["epochs", "batches"])
def test_a_resumed_run_has_the_points_of_an_uncut_one(
    train: Callable[..., None], every: int | None, make: Any, data: Any, tmp_path: Path
) -> None:
    """After two interruptions, at ends of epochs or within one, each point is in the files once."""

    def model() -> Any:
        keras.utils.clear_session()  # so that layers have the same names
        return make(run_eagerly=True)

    def board(directory: str) -> Any:
        return callbacks.TensorBoard(tmp_path / directory, update_freq=1, histogram_freq=1, write_steps_per_second=True)

    train(model(), data, board("uncut"), [], (tmp_path / "saved uncut", every))
    for batches in (BATCHES + 2, BATCHES):
        with pytest.raises(InterruptedError):
            train(model(), data, board("cut"), [Cut(batches)], (tmp_path / "saved", every))
    train(model(), data, board("cut"), [], (tmp_path / "saved", every))
    uncut, cut = logged(tmp_path / "uncut"), logged(tmp_path / "cut")
    assert cut == uncut
    assert [step for step, *_ in points(cut["train/batch_loss"])] == list(range(1, 3 * BATCHES + 1))


def points(values: list[Any]) -> list[Any]:
    return [value if isinstance(value, tuple) else (value,) for value in values]


def test_the_files_of_other_runs_are_left(make: Any, data: Any, tmp_path: Path) -> None:
    """A resumed run removes its own points after the backup, but not the files of others in the directory."""
    with pytest.raises(InterruptedError):
        backup_last(make(), data, callbacks.TensorBoard(tmp_path / "logs"), [Cut(BATCHES + 1)], (tmp_path / "saved", None))
    make().fit(*data, callbacks=[callbacks.TensorBoard(tmp_path / "logs")], **ARGUMENTS)
    backup_last(make(), data, callbacks.TensorBoard(tmp_path / "logs"), [], (tmp_path / "saved", None))
    assert [step for step, _ in read(tmp_path / "logs" / "train")["epoch_loss"]] == [0, 0, 1, 2, 1, 2]
