"""Which checkpoint a run resumes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from hookcore import store
from hookcore.errors import CapabilityError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcore.registry.inspection import Registered
    from hookcore.store import SavedCheckpoint
    from hookcore.trainee import Trainee

Resume: TypeAlias = Literal[False] | str | os.PathLike[str] | None
"""What a run goes on from: `"auto"`, the path of a checkpoint or of a directory of checkpoints, or False or None for nothing."""

_HINT: Final = "'auto', the path of a checkpoint or of a directory of checkpoints, or False"


def find(resume: Resume, plugins: Iterable[Registered], trainee: Trainee) -> SavedCheckpoint | None:
    """The checkpoint that `resume` asks for, verified; None where a run begins anew.

    `"auto"` asks each plugin that has a method `resumable` for the newest checkpoint it would go on from, and takes the one
    with the most steps; where none has one yet, the run begins anew. Raises `CheckpointError` where a path holds no checkpoint
    that verifies, or where all that there are are damaged, `ParameterError`, and `CapabilityError` for a trainee that cannot.
    """
    if resume is None or resume is False:
        return None
    given: Any = resume
    if not isinstance(given, str | os.PathLike) or given == "":
        raise ParameterError(f"resume must be {_HINT}, got {resume!r}.")
    reason = trainee.lacks("checkpoint")
    if reason is not None:
        raise CapabilityError(f"resume={resume!r} needs a trainee that can be saved and restored, but {reason}.")
    if resume != "auto":
        path = Path(resume)
        return store.verify(path) if os.path.lexists(path / store.MANIFEST) else store.newest(path)
    able = [registered.resumable for registered in plugins if registered.resumable is not None]
    if not able:
        raise ParameterError(
            f"resume='auto' needs a plugin that saves checkpoints, such as Checkpoint; there is none. Or give {_HINT}."
        )
    found: list[SavedCheckpoint] = [checkpoint for resumable in able if (checkpoint := resumable()) is not None]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)
