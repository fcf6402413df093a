"""Find the checkpoint that a run resumes from."""

from __future__ import annotations

import logging
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hookcore import store
from hookcore.error_policy import disables
from hookcore.errors import CapabilityError, ParameterError
from hookcore.paths import local_path
from hookcore.raised import interrupts, note, traceback_of
from hookcore.text import format_count
from hookcore.trainee import reason_lacking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hookcore.error_policy import OnError
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run
    from hookcore.store import SavedCheckpoint
    from hookcore.trainee import Trainee

logger = logging.getLogger("hookcore")

Resume: TypeAlias = Literal[False] | str | os.PathLike[str] | None
"""What to resume: `"auto"`, the path of a checkpoint or of a directory of checkpoints, or False or None for nothing."""


def find(
    resume: Resume, plugins: Iterable[Registered], trainee: Trainee, on_error: Mapping[str, OnError] = MappingProxyType({})
) -> SavedCheckpoint | None:
    """Return the checkpoint that `resume` asks for, verified, or None if the run starts from the beginning.

    For a directory of checkpoints that is the newest that verifies. `"auto"` asks each plugin with a method `resumable` for its
    newest checkpoint, and takes the one with the most steps; if there is no checkpoint yet, the run starts from the beginning.
    `on_error` is that of `Engine`: the error of an observer is logged, and its checkpoints are left out.

    Raises `CheckpointError` if a path holds no checkpoint that verifies, or all checkpoints of a plugin are damaged;
    `ParameterError` for another value, or for `"auto"` without such a plugin; `CapabilityError` if the trainee cannot be saved.
    """
    if resume is None or resume is False:
        return None
    given: Any = resume
    if not isinstance(given, str | os.PathLike) or given == "":
        raise ParameterError(
            f"resume must be 'auto', the path of a checkpoint or of a directory of checkpoints, or False, got {resume!r}."
        )
    reason = reason_lacking(trainee, "checkpoint")
    if reason is not None:
        raise CapabilityError(f"resume={resume!r} needs a trainee that can be saved and restored, but {reason}.")
    if resume != "auto":
        path = local_path(resume, "resume")
        return store.verify(path) if os.path.lexists(path / store.MANIFEST) else store.newest(path)
    return newest(plugins, on_error)


def newest(plugins: Iterable[Registered], on_error: Mapping[str, OnError] = MappingProxyType({})) -> SavedCheckpoint | None:
    """Return what `find` returns for `"auto"`: the newest checkpoint of any plugin, or None before the first checkpoint."""
    able = [registered for registered in plugins if registered.is_resumable]
    if not able:
        raise ParameterError(
            "resume='auto' needs a plugin that saves checkpoints, such as Checkpoint. Add one, or give the path of a checkpoint."
        )
    found = [checkpoint for registered in able if (checkpoint := _newest_of(registered, on_error)) is not None]
    return max(found, key=lambda checkpoint: checkpoint.place, default=None)


def _newest_of(registered: Registered, on_error: Mapping[str, OnError]) -> SavedCheckpoint | None:
    try:
        return registered.newest_checkpoint()
    except BaseException as error:
        if interrupts(error) or not disables(registered, on_error):
            note(error, f"Raised by plugin {registered.name!r} ({registered.origin}) in resumable.")
            raise
        logger.error(  # noqa: TRY400 - an error may refuse to be formatted
            "plugin %r raised in resumable; no checkpoint of it is resumed:\n%s", registered.name, traceback_of(error)
        )
        return None


def trained(run: Run) -> tuple[int, int, int]:
    """Return how much was trained in `run` and in the runs that it resumes. If this does not change, nothing was trained."""
    return run.progress.step, run.progress.accumulated, len(run.history)


def warn_of_nothing_left(run: Run, loop: str) -> None:
    """Log that nothing was left to train if `run` was resumed: if that is a mistake, the weights are those of another run."""
    if run.resumed_from is None:
        return
    why, more = "nothing was left of that run", "give it more data"
    if run.stop_reasons:
        plugin = run.stop_reasons[0].plugin
        why, more = f"that run was stopped by {plugin}", f"give {plugin} other parameters, such as more patience"
    elif run.epochs is not None and run.progress.epoch + 1 >= run.epochs:
        why, more = f"that run had its {format_count(run.progress.epoch + 1, 'epoch')}", "give more epochs"
    msg = (
        "%s trained nothing: it resumed from %s, and %s. The weights are those of that checkpoint. To train longer, %s. "
        "For another run, such as another fold, save into another directory. To train again from the beginning, leave out resume."
    )
    logger.warning(msg, loop, run.resumed_from.path, why, more)
