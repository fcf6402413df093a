"""A directory of checkpoints: write, list, rank and remove them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from hookcore.errors import CheckpointError, DiskFullError
from hookcore.paths import local_path
from hookcore.raised import chain
from hookcore.store import disk
from hookcore.store import files as on_disk
from hookcore.store.files import TEMPORARY
from hookcore.store.hashed import hashes_in
from hookcore.store.manifest import read_unverified, seal, verify
from hookcore.store.retention import ranked
from hookcore.store.saved import MANIFEST, NAME, SavedCheckpoint, name_of
from hookcore.text import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from hookcore.store.locking import Lock
    from hookcore.store.retention import Retention
    from hookcore.trainee import Mode

logger = logging.getLogger("hookcore")

Known: TypeAlias = dict["Path", tuple[object, SavedCheckpoint]]
"""What was read of checkpoints, by their paths, each with what tells whether its manifest is the same file still."""

_REPLACED: Final = f"{TEMPORARY}replaced-"
"""How the name of a checkpoint begins that a new one of the same step is replacing."""


def write(
    root: Path,
    *,
    epoch: int,
    step: int,
    metric: str | None,
    value: float | None,
    mode: Mode | None = None,
    record: str,
    files: Callable[[Path], object],
    retention: Retention | None = None,
    space: int = 0,
    accumulated: int = 0,
    lock: Lock | None = None,
) -> SavedCheckpoint:
    """Write the checkpoint of `step` under `root` and return it; it is durable then. One of the same name is replaced.

    * `epoch`, counted from zero, `step`, and the batches `accumulated` since its update: what the checkpoint is of.
    * `metric`, `value` and `mode`: the metric that ranks it, its value and the direction that is better, or None.
    * `record`: the text of `run.json`.
    * `files`: writes the trainee's files into the directory that it is given. It may return what `write_hashed` returned for
      files that it is done with, by their paths relative to that directory: they are not read again to be hashed.
    * `retention`: is stored in the manifest, for a later prune.
    * `space`: the bytes that the checkpoint is expected to take; 0, the default, if unknown. Nothing is written if fewer are free
      than that, or than the newest checkpoint takes.
    * `lock`: the directory's, which is checked before anything is written, and again before the checkpoint gets its name.

    Raises `DiskFullError` if the disk or the quota is full, `CheckpointError` for other failures, and what `files` raises. After
    an error every other checkpoint is untouched, and nothing half-written has a checkpoint's name.
    """
    root = local_path(root, "directory")
    final = root / name_of(step, accumulated)
    temporary = root / f"{TEMPORARY}{final.name}"
    checkpoint = SavedCheckpoint(final, epoch, step, metric, value, mode, retention, accumulated)
    if lock is not None:
        lock.check()
    needed = max([space, *(on_disk.size(path) for path in named(root)[-1:])])
    try:
        if lock is None or not root.is_dir():  # who locked it has made it
            on_disk.make_directory(root)
        on_disk.remove(temporary)
        usage = shutil.disk_usage(root)
        if usage.free < needed and usage.total:  # a file system that does not know reports a total of 0
            _raise_disk_full(final, needed, usage.free)
        disk.mkdir(temporary)
        seal(checkpoint, temporary, record, hashes_in(files(temporary)))
        for below in on_disk.directories(temporary):
            disk.sync(below)
        if lock is not None:
            lock.check()
        disk.sync_appended()  # so that no log lacks what the checkpoint counts
        _rename_into_place(temporary, final)
    except CheckpointError:
        raise
    except Exception as error:
        _clean_up(temporary, lock)
        full = _disk_full_error(error)
        if full is not None:
            _raise_disk_full(final, needed, shutil.disk_usage(root).free, full)
        if isinstance(error, OSError):
            raise CheckpointError(
                f"The checkpoint {final} could not be written: {error.strerror or error}. Earlier checkpoints are untouched."
            ) from error
        raise
    finally:
        _clean_up(temporary, lock)
    return checkpoint


def _clean_up(temporary: Path, lock: Lock | None) -> None:
    """Remove `temporary`, unless it may be what another run is writing."""
    if lock is None or lock.holds:
        on_disk.try_to_remove(temporary)


def _rename_into_place(temporary: Path, final: Path) -> None:
    """Give `temporary` the name `final`, durably."""
    replaced = final.parent / f"{_REPLACED}{final.name}"
    if os.path.lexists(replaced):  # left by a process that was killed, maybe before it synced the names
        disk.sync(final.parent)
    if os.path.lexists(final):
        _remove(final.parent, [replaced])
        # If the process dies between the two renames, `open_directory` gives the old checkpoint its name back.
        disk.rename(final, replaced)
        try:
            disk.rename(temporary, final)
        except BaseException:
            disk.rename(replaced, final)
            raise
    else:
        disk.rename(temporary, final)
    disk.sync(final.parent)
    with contextlib.suppress(CheckpointError):
        _remove(final.parent, [replaced])


def open_directory(root: Path) -> None:
    """Make the directory `root` if it does not exist, repair what a crash left in it, and check that it can be written to.

    Half-written and half-removed checkpoints are removed, and a checkpoint that was being replaced gets its name back. The caller
    must hold the directory's `lock`: what looks left behind may be what another process is writing. Raises `CheckpointError` if
    the directory cannot be made or written to.
    """
    root = local_path(root, "directory")
    probe = root / f"{TEMPORARY}probe"
    with _checkpoint_errors(f"The checkpoint directory {root} cannot be written to"):
        on_disk.make_directory(root)
        for directory in (*root.glob("earlier-*"), root):  # whoever moved something in or from them may have been killed
            disk.sync(directory)
        for left in sorted(root.glob(f"{TEMPORARY}*")):
            name = left.name.removeprefix(_REPLACED)
            try:
                if NAME.fullmatch(name) and not os.path.lexists(root / name):
                    disk.rename(left, root / name)
                elif left.name.startswith(_REPLACED):
                    _remove(root, [left])
                else:
                    on_disk.remove(left)
            # For example, a process on another machine reads it, or it is nested too deep; the probe below decides.
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
        # A checkpoint that is being replaced has another name for a moment, and keeps it if the process dies in that moment.
        found = {path.name.removeprefix(_REPLACED): path for path in sorted(root.iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"The checkpoint directory {root} cannot be read: {error.strerror or error}.") from error
    return sorted((path for name, path in found.items() if NAME.fullmatch(name)), key=_place)


def available(root: Path, known: Known | None = None) -> list[SavedCheckpoint]:
    """Return the checkpoints under `root` that have a readable manifest, by step, oldest first. Their files are not verified.

    `known`, if it is given, keeps what was read for the next call, which reads only the manifests that have changed since.
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
    """Return the checkpoint under `root` with the best monitored value that verifies; the earliest of equals.

    Raises `CheckpointError` if no checkpoint with a value verifies.
    """
    return _first_that_verifies(root, ranked(available(root)), "checkpoint with a monitored value")


def prune(
    root: Path, retention: Retention, also: Iterable[SavedCheckpoint] = (), known: Known | None = None
) -> list[SavedCheckpoint]:
    """Remove the checkpoints under `root` that neither `retention` nor `also` keeps; return the removed ones.

    The newest and the best always stay, and so does one without a readable manifest. `known` is that of `available`, for who
    prunes after each save. Raises `CheckpointError` if one cannot be removed.
    """
    candidates = available(root, known)
    kept = {path.name for path in [*retention.reasons(candidates), *(checkpoint.path for checkpoint in also)]}
    removed = [checkpoint for checkpoint in candidates if checkpoint.path.name not in kept]
    _remove(local_path(root, "directory"), [checkpoint.path for checkpoint in removed])
    return removed


def clear(root: Path) -> None:
    """Remove all checkpoints under `root`, the damaged ones and what a crash left behind included, and nothing else.

    Raises `CheckpointError` if one cannot be removed.
    """
    root = local_path(root, "directory")
    _remove(root, root.glob(f"{_REPLACED}*"))
    _remove(root, named(root))
    with _checkpoint_errors(f"The checkpoint directory {root} cannot be cleared"):
        left = list(root.glob(f"{TEMPORARY}*"))
        if left:  # what a killed process was removing must not have its name again
            disk.sync(root)
        for path in left:
            on_disk.remove(path)


def remove(path: Path) -> None:
    """Remove the checkpoint `path`, whole or damaged. Raises `CheckpointError` if it cannot be removed.

    It is renamed first, so that a half-removed one never has a checkpoint's name.
    """
    _remove(path.parent, [path])


def _remove(root: Path, paths: Iterable[Path]) -> None:
    """Remove those of the checkpoints `paths`, under `root`, that exist, also those that were being replaced."""
    doomed = {path: root / f"{TEMPORARY}removed-{path.name}" for path in paths if os.path.lexists(path)}
    for path, new in doomed.items():
        with _checkpoint_errors(f"The checkpoint {path} cannot be removed"):
            on_disk.remove(new)
            disk.rename(path, new)
    if doomed:
        with _checkpoint_errors(f"Checkpoints under {root} cannot be removed"):
            disk.sync(root)
    for path, new in doomed.items():
        with _checkpoint_errors(f"The checkpoint {path} cannot be removed"):
            on_disk.remove(new)


def set_aside(root: Path, after: int = -1, accumulated: int = 0) -> Path | None:
    """Move the checkpoints after step `after` and `accumulated` batches more into a new directory `earlier-001` under `root`.

    Return that directory, or None if there is nothing to move. The step is that of the name, so that damaged checkpoints are
    moved too; -1, the default, moves all. Raises `CheckpointError` if they cannot be moved.
    """
    old = [path for path in named(root) if _place(path) > (after, accumulated)]
    if not old:
        return None
    with _checkpoint_errors(f"The checkpoints of an earlier run in {root} cannot be set aside"):
        return on_disk.move_aside(root, {path: name_of(*_place(path)) for path in old})


@contextlib.contextmanager
def _checkpoint_errors(problem: str) -> Iterator[None]:
    """Raise a `CheckpointError` with `problem` for an error of the file system, or for directories too deep to walk."""
    try:
        yield
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{problem}: {reason}.") from error


def _place(path: Path) -> tuple[int, int]:
    step, _, accumulated = path.name.rpartition("-")[2].partition("+")
    return int(step), int(accumulated or 0)


def _first_that_verifies(root: Path, candidates: Iterable[SavedCheckpoint], wanted: str) -> SavedCheckpoint:
    """Return the first of `candidates` that verifies. The log names each damaged one before it, and so does the error."""
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


def _raise_disk_full(path: Path, needed: int, free: int, cause: OSError | None = None) -> NoReturn:
    if cause is not None and cause.errno == errno.EDQUOT:  # the disk's free space does not tell what the quota leaves
        expected = f"about {format_size(needed)}" if needed else "more than it leaves"
        problem = f"The disk quota is used up: the checkpoint {path} needs {expected}"
    else:
        # If the disk became full although `needed` was free, the checkpoint needs more than that.
        expected = f"about {format_size(needed)}" if needed > free else f"more than {format_size(free)}"
        problem = f"The disk is full: the checkpoint {path} needs {expected}"
    raise DiskFullError(f"{problem}, and the disk has {format_size(free)} free. Earlier checkpoints are untouched.") from cause


def _disk_full_error(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk or quota that caused `error`, or None. Libraries wrap it in errors of their own."""
    for link in () if error is None else chain(error):
        if isinstance(link, OSError) and link.errno in {errno.ENOSPC, errno.EDQUOT}:
            return link
    return None
