"""Write one checkpoint: into a temporary sibling, synced, then renamed. README.md has the steps."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING, NoReturn

from hookcore.errors import CheckpointError, DiskFullError
from hookcore.paths import local_path
from hookcore.raised import chain
from hookcore.store import disk
from hookcore.store import files as on_disk
from hookcore.store.directory import REPLACED, named, remove_all
from hookcore.store.files import TEMPORARY
from hookcore.store.hashed import hashes_in
from hookcore.store.manifest import seal
from hookcore.store.saved import SavedCheckpoint, name_of
from hookcore.text import format_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore.store.locking import Lock
    from hookcore.store.retention import Retention
    from hookcore.trainee import Mode


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
    """Write the checkpoint of `step` under `root`, replace one of the same name, and return it once it is durable.

    * `epoch`, counted from zero, `step`, and `accumulated`, the number of batches since the latest update: when it was taken.
    * `metric`, `value` and `mode`: the metric that ranks it, its value and the direction that is better, or None.
    * `record`: the text of `run.json`.
    * `files`: a function that writes the trainee's files into the directory that it is given. It may return the hashes of some,
      `Hashed` by their paths relative to that directory: these files are not read again to be hashed.
    * `retention`: stored in the manifest, for a later prune.
    * `space`: the number of bytes that the checkpoint is expected to take; 0, the default, if unknown. Nothing is written if less
      than that is free, or less than the newest checkpoint takes.
    * `lock`: the directory's lock, which is checked before anything is written, and again before the checkpoint gets its name.

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
        if lock is None or not root.is_dir():  # locking a directory has made it
            on_disk.make_directory(root)
        on_disk.remove(temporary)
        usage = shutil.disk_usage(root)
        if usage.free < needed and usage.total:  # a total of 0 means that the file system does not report its size
            _raise_disk_full(final, needed, usage.free)
        disk.mkdir(temporary)
        seal(checkpoint, temporary, record, hashes_in(files(temporary)))
        for below in on_disk.directories(temporary):
            disk.sync(below)
        if lock is not None:
            lock.check()
        disk.sync_appended()  # logs first, so that they lack nothing that the checkpoint counts
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
    replaced = final.parent / f"{REPLACED}{final.name}"
    if os.path.lexists(replaced):  # left by a process that was killed, perhaps before it synced the names
        disk.sync(final.parent)
    if os.path.lexists(final):
        remove_all(final.parent, [replaced])
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
        remove_all(final.parent, [replaced])


def _raise_disk_full(path: Path, needed: int, free: int, cause: OSError | None = None) -> NoReturn:
    if cause is not None and cause.errno == errno.EDQUOT:  # the quota may leave less than the disk's free space
        expected = f"about {format_size(needed)}" if needed else "more than it leaves"
        problem = f"The disk quota is used up: the checkpoint {path} needs {expected}"
    else:
        # If the disk filled up although `needed` was free, the checkpoint needs more than that.
        expected = f"about {format_size(needed)}" if needed > free else f"more than {format_size(free)}"
        problem = f"The disk is full: the checkpoint {path} needs {expected}"
    raise DiskFullError(f"{problem}, and the disk has {format_size(free)} free. Earlier checkpoints are untouched.") from cause


def _disk_full_error(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk or quota that caused `error`, or None. Libraries wrap it in errors of their own."""
    for link in () if error is None else chain(error):
        if isinstance(link, OSError) and link.errno in {errno.ENOSPC, errno.EDQUOT}:
            return link
    return None
