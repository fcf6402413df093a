"""A capture: everything that a checkpoint holds, taken at one moment and kept in memory until it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from hookcore import state
from hookcore.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from hookcore.store import SavedCheckpoint
    from hookcore.trainee import Snapshot, Trainee

_HELD: Final = "held"


@attrs.frozen
class Capture:
    """A run at one moment: the text of its record, the trainee's snapshot, and the snapshots that plugins hold."""

    trainee: Trainee = attrs.field(repr=False)
    epoch: int
    step: int
    record: str = attrs.field(repr=False)
    """The JSON text of progress, history, decisions and the state of every plugin."""
    snapshots: Sequence[Snapshot] = attrs.field(repr=False)
    """The trainee's own, then those that plugins hold, in the order in which the record lists them."""

    @property
    def nbytes(self) -> int:
        """The disk space that writing it takes, as far as the snapshots tell."""
        return len(self.record) + sum(getattr(snapshot, "nbytes", 0) for snapshot in self.snapshots)

    def write(self, directory: Path) -> None:
        """Write the snapshots into `directory`. May run on any thread."""
        for number, snapshot in enumerate(self.snapshots):
            place = _place(directory, number)
            place.mkdir(parents=True, exist_ok=True)
            self.trainee.write(snapshot, place)

    @classmethod
    def read(cls, checkpoint: SavedCheckpoint, trainee: Trainee) -> Self:
        """The capture that `checkpoint` was made of. Raises `CheckpointError`."""
        record = checkpoint.record_text()
        try:
            held = len(state.loads(record)["held"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"The checkpoint {checkpoint.path} holds no run that can be resumed: {error!r} in its record."
            ) from error
        try:
            snapshots = [trainee.read(_place(checkpoint.path, number)) for number in range(1 + held)]
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(f"The trainee cannot be restored from {checkpoint.path}: {error!r}") from error
        return cls(trainee, checkpoint.epoch, checkpoint.step, record, snapshots)


def _place(directory: Path, number: int) -> Path:
    return directory if number == 0 else directory / _HELD / str(number)
