"""Where a run continues, and what Lightning does not restore by itself: the random state, and the place in the data."""

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
    """What a run continues from: a checkpoint of ours, the record in one of Lightning's, or nothing."""

    found: SavedCheckpoint | None = None
    capture: Capture | None = None
    """Of the checkpoint that was found."""
    record: str | None = None
    """Of Lightning's checkpoint."""
    random: RandomState | None = None

    @classmethod
    def of_ours(cls, found: SavedCheckpoint | None, trainee: LightningTrainee) -> Self:
        """Return what the checkpoint that was found holds, and have the trainer continue from it."""
        if found is None:
            return cls()
        capture = Capture.read(found, trainee)
        trainee.restore_trainer(capture.snapshots[0])
        return cls(found, capture, random=capture.snapshots[0].random)

    @classmethod
    def of_lightnings(cls, path: object, saved: Mapping[str, Any]) -> Self:
        """Return what the adapter had `saved` in the checkpoint at `path`, which Lightning restores."""
        if not saved:
            logger.warning("%s has no record of plugins: they begin as in a new run", path)
            return cls()
        return cls(record=saved["record"], random=RandomState.from_state_dict(saved["random"]))

    def before_data(self) -> None:
        """Restore the random state before Lightning makes the iterator of its data: that draws what begins an epoch."""
        if self.random is not None:
            self.random.restore()

    def after_data(self, drawn: RandomState, *, had_drawn: bool) -> None:
        """Restore the saved random state if the iterator had drawn by then, and else that of now, `drawn`."""
        if self.random is not None:
            (self.random if had_drawn else drawn).restore()

    def warn_of_left_out(self, trainer: Any, run: Run, position: Position) -> None:
        """Warn of what a trainer that resumes from Lightning's own checkpoint leaves out of the epoch that was cut."""
        if self.record is None:
            return
        if trainer.current_epoch > position.epoch:
            logger.warning(
                "resumed after the last batch of epoch %d: Lightning leaves out the end of that epoch, and what the module logs "
                "there. Have it save later: ModelCheckpoint(save_on_train_epoch_end=True)",
                position.epoch + 1,
            )
            return
        was_due = not trainer.is_last_batch and is_by_steps(trainer) and is_due(trainer, position.batch - 1)
        if was_due and run.history.steps[-1:] != [run.progress.step]:
            logger.warning(
                "resumed after batch %d of epoch %d: Lightning leaves out the validation after it. Have it save later: "
                "ModelCheckpoint(save_on_train_epoch_end=False), without every_n_train_steps",
                position.batch,
                position.epoch + 1,
            )

    def warn_of_workers(self, trainer: Any) -> None:
        """Warn if workers have read ahead before Lightning has told the sampler of the epoch in which the run is resumed."""
        loader = trainer.train_dataloader
        if self.random is None or not trainer.current_epoch or not getattr(loader, "num_workers", 0):
            return
        if isinstance(loader, DataLoader) and isinstance(sampler_of(loader), ResumableSampler):
            logger.warning(
                "resumed: epoch %d has the order of the first one, as Lightning has the workers of a loader read ahead before it "
                "tells a ResumableSampler the epoch. Leave out the workers, or shuffle with DataLoader(shuffle=True), which a "
                "resumed run repeats from the end of an epoch on",
                trainer.current_epoch + 1,
            )

    def continue_data(self, trainer: Any, trainee: LightningTrainee, position: Position) -> None:
        """Have the data of the epoch that was cut begin at the batch that is next, or warn that they begin again.

        Lightning asks for as many batches as are left, from an iterator that begins with the first, unless the loader has a
        state that Lightning restores.
        """
        loader = trainer.train_dataloader
        if hasattr(loader, "load_state_dict") or not position.batch or trainer.is_last_batch:
            return
        workers = getattr(loader, "num_workers", 0)
        begun = 0 if workers else begin_data(trainee, loader, position.epoch, position.batch).batch
        if begun < position.batch:
            logger.warning(
                "resumed within epoch %d, after batch %d: its data begin again with their first batch. They would not if the "
                "loader has a state_dict, as a StatefulDataLoader has, or a ResumableSampler and no workers; or save at the ends "
                "of epochs",
                position.epoch + 1,
                position.batch,
            )
