"""Find when Lightning validates, and mend its saved state so that a pending validation is not left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_by_steps(trainer: Any) -> bool:
    """Return whether it validates within epochs. An integer, also 1, is a number of batches."""
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
    """Return whether the last batch of an epoch is trained and its validation is not finished.

    `loops` is the fit loop's state.
    """
    if not trainer.is_last_batch or not is_due(trainer, trainer.fit_loop.batch_idx):
        return False
    trained, validated = (loops[f"epoch_loop.{loop}batch_progress"]["current"] for loop in ("", "val_loop."))
    return bool(
        trained["completed"] < trained["processed"] or (trainer.validating and validated["completed"] < validated["ready"])
    )


def mend(loops: dict[str, Any], trainer: Any) -> None:
    """Change the state of the fit loop so that a trainer resumes exactly at two positions where Lightning would not.

    After the last batch of an epoch, Lightning would leave out the validation and the end of the epoch, or validate only on the
    rest: the state becomes that of a validation in its first batch. At the beginning of an epoch, Lightning would leave out its
    batches: the state becomes that of an epoch that has not begun.
    """
    if is_to_come(trainer, loops):
        trained, validated = (loops[f"epoch_loop.{loop}batch_progress"] for loop in ("", "val_loop."))
        for part in ("total", "current"):
            trained[part]["completed"] = trained[part]["processed"]
            validated[part] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        validated["is_last_batch"] = False
    for progress in loops["epoch_progress"].values():
        progress["ready"] = progress["started"]
