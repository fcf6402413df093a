"""When Lightning validates, and the state from which it makes up for a validation that was to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_by_steps(trainer: Any) -> bool:
    """Return whether it validates within epochs. An integer is a number of batches, 1 too."""
    every = trainer.val_check_interval
    return trainer.check_val_every_n_epoch is None or not (isinstance(every, float) and every == 1.0)


def is_due(trainer: Any, batch: int) -> bool:
    """Return whether it validates after `batch` of its epoch."""
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (epochs is not None and (trainer.current_epoch + 1) % epochs != 0):
        return False
    if every == float("inf"):  # the length of the data is unknown
        return bool(trainer.is_last_batch)
    trained = trainer.fit_loop.total_batch_idx if epochs is None else batch
    return bool((trained + 1) % every == 0)


def is_to_come(trainer: Any, loops: Mapping[str, Any]) -> bool:
    """Return whether the last batch of an epoch is trained, and its validation not done. `loops` is the state of the fit loop."""
    if not trainer.is_last_batch or not is_due(trainer, trainer.fit_loop.batch_idx):
        return False
    trained, validated = (loops[f"epoch_loop.{loop}batch_progress"]["current"] for loop in ("", "val_loop."))
    return bool(
        trained["completed"] < trained["processed"] or (trainer.validating and validated["completed"] < validated["ready"])
    )


def mend(loops: dict[str, Any], trainer: Any) -> None:
    """Change the state of the fit loop so that a trainer resumes where it was cut, in two moments at which Lightning would not.

    After the last batch of an epoch it would leave out the validation and the epoch's end, or validate on what is left: it gets
    the state of a validation in its first batch. When an epoch begins it would leave out its batches: it begins it again.
    """
    if is_to_come(trainer, loops):
        trained, validated = (loops[f"epoch_loop.{loop}batch_progress"] for loop in ("", "val_loop."))
        for part in ("total", "current"):
            trained[part]["completed"] = trained[part]["processed"]
            validated[part] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        validated["is_last_batch"] = False
    for progress in loops["epoch_progress"].values():
        progress["ready"] = progress["started"]
