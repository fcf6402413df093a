"""A directory of checkpoints: list, rank, prune, remove, set aside and repair them."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final, TypeAlias

from hookcore.errors import CheckpointError
from hookcore.paths import local_path
from hookcore.store import disk, files
from hookcore.store.files import TEMPORARY
from hookcore.store.manifest import read_unverified, verify
from hookcore.store.retention import ranked
from hookcore.store.saved import MANIFEST, NAME, SavedCheckpoint, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hookcore.store.retention import Retention

logger = logging.getLogger("hookcore")

Known: TypeAlias = dict["Path", tuple[object, SavedCheckpoint]]
"""The checkpoints that were read, by path, each with a mark that changes if its manifest does."""

REPLACED: Final = f"{TEMPORARY}replaced-"
"""The beginning of a checkpoint's name while a new checkpoint of the same step replaces it."""


def open_directory(root: Path) -> None:
    """Make the directory `root` if it does not exist, repair what a crash left in it, and check that it can be written to.

    Half-written and half-removed checkpoints are removed, and a checkpoint that was being replaced gets its name back. The caller
    must hold the directory's `lock`, because what looks left behind may be in use by another process. Raises `CheckpointError` if
    the directory cannot be made or written to.
    """
    root = local_path(root, "directory")
    probe = root / f"{TEMPORARY}probe"
    with _checkpoint_errors(f"The checkpoint directory {root} cannot be written to"):
        files.make_directory(root)
        for directory in (*root.glob("earlier-*"), root):  # a process that moved something here may have been killed
            disk.sync(directory)
        for left in sorted(root.glob(f"{TEMPORARY}*")):
            name = left.name.removeprefix(REPLACED)
            try:
                if NAME.fullmatch(name) and not os.path.lexists(root / name):
                    disk.rename(left, root / name)
                elif left.name.startswith(REPLACED):
                    remove_all(root, [left])
                else:
                    files.remove(left)
            # For example, a process on another machine reads it, or it is nested too deeply; the probe below decides.
            except (OSError, RecursionError, CheckpointError) as error:
                logger.warning("%s was left behind and cannot be removed: %s", left, error)
        disk.mkdir(probe, exist_ok=True)
        disk.rmdir(probe)


def named(root: Path) -> list[Path]:
    """Return every path under `root` with a checkpoint's name, by step, oldest first; an empty list if `root` does not exist.

    Raises `CheckpointError` if the directory cannot be listed.
    """
    root = local_path(root, "directory")
    try:
        # A checkpoint that is being replaced has another name for a moment, and keeps that if the process dies then.
        found = {path.name.removeprefix(REPLACED): path for path in sorted(root.iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"The checkpoint directory {root} cannot be read: {error.strerror or error}.") from error
    return sorted((path for name, path in found.items() if NAME.fullmatch(name)), key=_place)


def available(root: Path, known: Known | None = None) -> list[SavedCheckpoint]:
    """Return the checkpoints under `root` that have a readable manifest, by step, oldest first. Their files are not verified.

    If `known` is given, it is updated with what was read, and only manifests that have changed since the last call are read.
    """
    before, found = dict(known or ()), {}
    for path in named(root):
        with contextlib.suppress(OSError):
            status = (path / MANIFEST).lstat()
            mark = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            earlier, checkpoint = before.get(path, (None, None))
            found[path] = mark, read_unverified(path) if checkpoint is None or earlier != mark else checkpoint
    if known is not None:
        known.clear()
        known.update(found)
    return [checkpoint for _, checkpoint in found.values()]


def newest(root: Path) -> SavedCheckpoint:
    """Return the newest checkpoint under `root` that verifies. Raises `CheckpointError` if no checkpoint does."""
    return _first_that_verifies(root, available(root)[::-1], "checkpoint")


def best(root: Path) -> SavedCheckpoint:
    """Return the checkpoint under `root` with the best monitored value of those that verify; the earliest of equals.

    Raises `CheckpointError` if no checkpoint with a value verifies.
    """
    return _first_that_verifies(root, ranked(available(root)), "checkpoint with a monitored value")


def prune(
    root: Path, retention: Retention, also: Iterable[SavedCheckpoint] = (), known: Known | None = None
) -> list[SavedCheckpoint]:
    """Remove the checkpoints under `root` that neither `retention` nor `also` keeps; return the removed ones.

    The newest and the best always stay, and so does one without a readable manifest. `known` is that of `available`, for a caller
    that prunes after each save. Raises `CheckpointError` if one cannot be removed.
    """
    candidates = available(root, known)
    kept = {path.name for path in [*retention.reasons(candidates), *(checkpoint.path for checkpoint in also)]}
    removed = [checkpoint for checkpoint in candidates if checkpoint.path.name not in kept]
    remove_all(local_path(root, "directory"), [checkpoint.path for checkpoint in removed])
    return removed


def clear(root: Path) -> None:
    """Remove all checkpoints under `root`, including damaged ones and what a crash left behind, and nothing else.

    Raises `CheckpointError` if one cannot be removed.
    """
    root = local_path(root, "directory")
    remove_all(root, root.glob(f"{REPLACED}*"))
    remove_all(root, named(root))
    with _checkpoint_errors(f"The checkpoint directory {root} cannot be cleared"):
        left = list(root.glob(f"{TEMPORARY}*"))
        if left:  # so that what a killed process was removing cannot get its name back
            disk.sync(root)
        for path in left:
            files.remove(path)


def remove(path: Path) -> None:
    """Remove the checkpoint `path`, whole or damaged. Raises `CheckpointError` if it cannot be removed.

    It is renamed first, so that a half-removed one never has a checkpoint's name.
    """
    remove_all(path.parent, [path])


def remove_all(root: Path, paths: Iterable[Path]) -> None:
    """Remove those of the checkpoints `paths`, under `root`, that exist."""
    doomed = {path: root / f"{TEMPORARY}removed-{path.name}" for path in paths if os.path.lexists(path)}
    for path, new in doomed.items():
        with _checkpoint_errors(f"The checkpoint {path} cannot be removed"):
            files.remove(new)
            disk.rename(path, new)
    if doomed:
        with _checkpoint_errors(f"Checkpoints under {root} cannot be removed"):
            disk.sync(root)
    for path, new in doomed.items():
        with _checkpoint_errors(f"The checkpoint {path} cannot be removed"):
            files.remove(new)


def set_aside(root: Path, after: int = -1, accumulated: int = 0) -> Path | None:
    """Move the checkpoints later than step `after` plus `accumulated` batches into a new directory `earlier-001` under `root`.

    Return that directory, or None if there is nothing to move. The step is read from the name, so that damaged checkpoints are
    moved too; -1, the default, moves all. Raises `CheckpointError` if they cannot be moved.
    """
    old = [path for path in named(root) if _place(path) > (after, accumulated)]
    if not old:
        return None
    with _checkpoint_errors(f"The checkpoints of an earlier run in {root} cannot be set aside"):
        return files.move_aside(root, {path: name_of(*_place(path)) for path in old})


@contextlib.contextmanager
def _checkpoint_errors(problem: str) -> Iterator[None]:
    """Raise a `CheckpointError` with `problem` for an error of the file system, or for directories that are nested too deeply."""
    try:
        yield
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{problem}: {reason}.") from error


def _place(path: Path) -> tuple[int, int]:
    step, _, accumulated = path.name.rpartition("-")[2].partition("+")
    return int(step), int(accumulated or 0)


def _first_that_verifies(root: Path, candidates: Iterable[SavedCheckpoint], wanted: str) -> SavedCheckpoint:
    """Return the first of `candidates` that verifies. The log names each damaged one before it; the error names all of them."""
    listed = {checkpoint.path for checkpoint in available(root)}
    unreadable = [path for path in named(root) if path not in listed]
    damaged = []
    for path in [*unreadable, *(checkpoint.path for checkpoint in candidates)]:
        try:
            checkpoint = verify(path)
        except CheckpointError as error:
            logger.warning("skipped: %s", error)
            damaged.append(str(error))
        else:
            if path in listed:
                return checkpoint
    raise CheckpointError(f"No {wanted} that verifies under {root}." + "".join(f" {problem}" for problem in damaged))
