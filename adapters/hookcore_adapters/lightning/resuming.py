"""Resume a run, with what Lightning does not restore: the random state and the position in the data."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import attrs
from torch.utils.data import DataLoader

from hookcore.capture import Capture
from hookcore.trainee import begin_data
from hookcore_adapters.lightning.validation import is_by_steps, is_due
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.torch import ResumableSampler
from hookcore_adapters.torch.data import sampler_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import Position, Run, SavedCheckpoint
    from hookcore_adapters.lightning.trainee import LightningTrainee

logger = logging.getLogger("hookcore")


@attrs.frozen(eq=False)
class Resuming:
    """The state that a run resumes: that of a plugin's checkpoint, the record in Lightning's checkpoint, or none."""

    found: SavedCheckpoint | None = None
    capture: Capture | None = None
    """The content of the plugin's checkpoint."""
    record: str | None = None
    """The record in Lightning's checkpoint."""
    random: RandomState | None = None

    @classmethod
    def of_ours(cls, found: SavedCheckpoint | None, trainee: LightningTrainee) -> Self:
        """Return the state in a plugin's checkpoint, and restore it in the trainer."""
        if found is None:
            return cls()
        capture = Capture.read(found, trainee)
        trainee.restore_trainer(capture.snapshots[0])
        return cls(found, capture, random=capture.snapshots[0].random)

    @classmethod
    def of_lightnings(cls, path: object, saved: Mapping[str, Any]) -> Self:
        """Return the state that the adapter `saved` in Lightning's checkpoint at `path`, which Lightning restores."""
        if not saved:
            logger.warning("%s was saved without plugins: they start from the beginning", path)
            return cls()
        return cls(record=saved["record"], random=RandomState.from_state_dict(saved["random"]))

    def before_data(self) -> None:
        """Restore the random state before Lightning makes the iterator of its data, which draws random numbers for the epoch."""
        if self.random is not None:
            self.random.restore()

    def after_data(self, drawn: RandomState, *, had_drawn: bool) -> None:
        """Restore the saved random state if the iterator existed when it was saved, and otherwise `drawn`, the present one."""
        if self.random is not None:
            (self.random if had_drawn else drawn).restore()

    def warn_of_left_out(self, trainer: Any, run: Run, position: Position) -> None:
        """Warn of what a trainer that resumes from Lightning's checkpoint leaves out of the interrupted epoch."""
        if self.record is None:
            return
        if trainer.current_epoch > position.epoch:
            logger.warning(
                "resumed after the last batch of epoch %d: Lightning leaves out the end of that epoch and what the module logs "
                "there. To avoid this, save later: ModelCheckpoint(save_on_train_epoch_end=True)",
                position.epoch + 1,
            )
            return
        was_due = not trainer.is_last_batch and is_by_steps(trainer) and is_due(trainer, position.batch - 1)
        if was_due and run.history.steps[-1:] != [run.progress.step]:
            logger.warning(
                "resumed after batch %d of epoch %d: Lightning leaves out the validation after it. To avoid this, save later: "
                "ModelCheckpoint(save_on_train_epoch_end=False), without every_n_train_steps",
                position.batch,
                position.epoch + 1,
            )

    def warn_of_workers(self, trainer: Any) -> None:
        """Warn if workers have read ahead before Lightning has set the epoch of the sampler."""
        loader = trainer.train_dataloader
        if self.random is None or not trainer.current_epoch or not getattr(loader, "num_workers", 0):
            return
        if isinstance(loader, DataLoader) and isinstance(sampler_of(loader), ResumableSampler):
            logger.warning(
                "resumed: epoch %d has the order of the first epoch, because Lightning lets the workers of a loader read ahead "
                "before it sets the epoch of a ResumableSampler. Train without workers, or shuffle with "
                "DataLoader(shuffle=True), whose order is repeated if the run is resumed at the end of an epoch",
                trainer.current_epoch + 1,
            )

    def continue_data(self, trainer: Any, trainee: LightningTrainee, position: Position) -> None:
        """Make the data of the interrupted epoch start at the next batch, or warn that they start again.

        Lightning reads as many batches as are left, but from the first batch on, unless the loader has a state that it restores.
        """
        loader = trainer.train_dataloader
        if hasattr(loader, "load_state_dict") or not position.batch or trainer.is_last_batch:
            return
        workers = getattr(loader, "num_workers", 0)
        begun = 0 if workers else begin_data(trainee, loader, position.epoch, position.batch).batch
        if begun < position.batch:
            logger.warning(
                "resumed in epoch %d, after batch %d: its data start again with their first batch. To avoid this, use a loader "
                "with a state_dict, such as StatefulDataLoader, or with a ResumableSampler and no workers; or save at the ends "
                "of epochs",
                position.epoch + 1,
                position.batch,
            )
