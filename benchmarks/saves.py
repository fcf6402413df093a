"""Save at every step of a run, for the benchmarks of several frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookcore import Engine, Run, hookimpl
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path


class Saves:
    """A run of `trainee` whose `Checkpoint` saves into `directory` at every step."""

    def __init__(self, trainee: Any, directory: Path) -> None:
        self.begun = self.durable = 0
        self.plugin = Checkpoint(directory, every_n_epochs=None, every_n_steps=1, keep_last=1)
        self.run = Run.of(trainee)
        self._session = Engine([self.plugin, self], autoload=False).start(self.run)
        self._session.train_begin()
        self._session.epoch_begin(0)

    @hookimpl
    def on_checkpoint(self) -> None:
        """Count."""
        self.durable += 1

    def begin(self) -> None:
        """Do the work of the training thread for one save."""
        self.begun += 1
        self._session.batch_end(0, {})

    def finish(self) -> None:
        """Wait until the save is durable, and send the next event, at which it is announced."""
        self.plugin._writes.wait()  # noqa: SLF001 - only a benchmark has to wait for a save
        self._session.evaluate_batch_end(0, {})
        assert self.durable == self.begun, f"{self.begun} saves, {self.durable} are durable"  # noqa: S101 - the check

    def end(self) -> None:
        """End training."""
        self._session.end()
