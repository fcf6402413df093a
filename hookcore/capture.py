"""A capture: everything that a checkpoint holds, taken at one moment and kept in memory until it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from hookcore import record_schema
from hookcore.errors import CheckpointError
from hookcore.raised import describe
from hookcore.store.hashed import hashes_in
from hookcore.validators import integer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from hookcore.store import Hashed, SavedCheckpoint
    from hookcore.trainee import Snapshot, Trainee

_HELD: Final = "held"


@attrs.frozen
class Capture:
    """A run at one moment: the text of its record, the trainee's snapshot, and the snapshots that plugins hold."""

    trainee: Trainee = attrs.field(repr=False)
    epoch: int = attrs.field(validator=integer(at_least=0))
    step: int = attrs.field(validator=integer(at_least=0))
    record: str = attrs.field(repr=False)
    """The JSON text of progress, history, decisions and the state of every plugin."""
    snapshots: Sequence[Snapshot] = attrs.field(repr=False)
    """The trainee's own, then those that plugins hold, in the order of the record; empty for a record alone."""
    accumulated: int = attrs.field(default=0, validator=integer(at_least=0))
    """The number of batches since the latest update, whose gradients wait for the next one."""
    seconds: float = 0.0
    """How long training waited for the capture; 0 if it was read from a checkpoint."""

    @property
    def nbytes(self) -> int:
        """The number of bytes that writing the capture takes; a snapshot without `nbytes` counts as 0."""
        return len(self.record) + sum(getattr(snapshot, "nbytes", 0) for snapshot in self.snapshots)

    def write(self, directory: Path) -> dict[str, Hashed]:
        """Write the snapshots into `directory`, and return what the trainee has hashed. May run on any thread."""
        hashed: dict[str, Hashed] = {}
        for number, snapshot in enumerate(self.snapshots):
            own = _snapshot_directory(directory, number)
            own.mkdir(parents=True, exist_ok=True)
            written = hashes_in(self.trainee.write(snapshot, own))
            hashed |= {(own / name).relative_to(directory).as_posix(): one for name, one in written.items()}
        return hashed

    @classmethod
    def read(cls, checkpoint: SavedCheckpoint, trainee: Trainee) -> Self:
        """Return the capture that `checkpoint` was written from.

        Raises `CheckpointError` if the record cannot be read, or if `trainee` cannot read its snapshots.
        """
        record = checkpoint.record_text()
        try:
            held = len(record_schema.read(record)["held"])
        except ValueError as error:
            raise CheckpointError(f"The checkpoint {checkpoint.path} cannot be resumed: {error}.") from error
        try:
            snapshots = [trainee.read(_snapshot_directory(checkpoint.path, number)) for number in range(1 + held)]
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"The checkpoint {checkpoint.path} cannot be resumed: the trainee could not read its snapshot: {describe(error)}."
            ) from error
        return cls(trainee, checkpoint.epoch, checkpoint.step, record, snapshots, checkpoint.accumulated)

    @classmethod
    def of_record(cls, record: str, trainee: Trainee) -> Self:
        """Return a capture of the record alone, for a framework whose own checkpoint has the trainee.

        Raises `CheckpointError` if it cannot be read.
        """
        try:
            progress = record_schema.read(record)["progress"]
        except ValueError as error:
            raise CheckpointError(f"The run cannot be resumed: {error}.") from error
        return cls(trainee, progress["epoch"], progress["step"], record, (), progress["accumulated"])


def _snapshot_directory(directory: Path, number: int) -> Path:
    return directory if number == 0 else directory / _HELD / str(number)
