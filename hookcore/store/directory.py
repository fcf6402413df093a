"""A directory of checkpoints: write, list, rank and remove them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from hookcore.errors import CheckpointError, DiskFullError
from hookcore.store import files as on_disk
from hookcore.store.files import TEMPORARY
from hookcore.store.manifest import complete, describe, verify
from hookcore.store.retention import ranked
from hookcore.store.saved import NAME, SavedCheckpoint, name_of
from hookcore.text import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hookcore.store.retention import Retention
    from hookcore.trainee import Mode

logger = logging.getLogger("hookcore")

_REPLACED: Final = f"{TEMPORARY}replaced-"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def write(
    root: Path,
    *,
    epoch: int,
    step: int,
    metric: str | None,
    value: float | None,
    mode: Mode | None = None,
    record: str,
    files: Callable[[Path], None],
    retention: Retention | None = None,
    space: int = 0,
) -> SavedCheckpoint:
    """Write the checkpoint of `step` under `root`; it is durable when this returns.

    `files` writes the trainee's files into the directory it is given, and `record` becomes `run.json`. `retention` is noted in
    the manifest, for who prunes later. `space` is the number of bytes that it is expected to take: where fewer are free than
    that, or than the newest checkpoint takes, nothing is begun. An earlier checkpoint of the same step is replaced.
    Raises `DiskFullError` where the disk is full, and `CheckpointError`, with every other checkpoint untouched and nothing
    half-written under a checkpoint's name.
    """
    final = root / name_of(step)
    temporary = root / f"{TEMPORARY}{final.name}"
    checkpoint = SavedCheckpoint(final, epoch, step, metric, value, mode, retention)
    needed = max([space, *(on_disk.size(path) for path in named(root)[-1:])])
    try:
        on_disk.make_directory(root)
        on_disk.remove(temporary)
        disk = shutil.disk_usage(root)
        if disk.free < needed and disk.total:  # some file systems do not tell, and say that they have nothing
            _refuse_full(final, needed, disk.free)
        temporary.mkdir()
        files(temporary)
        complete(checkpoint, temporary, record)
        for below in on_disk.directories(temporary):
            on_disk.sync(below)
        _take_place(temporary, final)
    except CheckpointError:
        raise
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        full = _full(error)
        if full is not None:
            _refuse_full(final, needed, shutil.disk_usage(root).free, full)
        if isinstance(error, OSError):
            raise CheckpointError(
                f"The checkpoint {final} could not be written: {error.strerror or error}. Earlier checkpoints are untouched."
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return checkpoint


def _take_place(temporary: Path, final: Path) -> None:
    """Give `temporary` the name `final`, durably."""
    replaced = final.parent / f"{_REPLACED}{final.name}"
    on_disk.remove(replaced)
    if os.path.lexists(final):
        # A process that dies between the two leaves the old one here, and `open_directory` puts it back.
        final.rename(replaced)
        try:
            temporary.rename(final)
        except BaseException:
            replaced.rename(final)
            raise
    else:
        temporary.rename(final)
    on_disk.sync(final.parent)
    with contextlib.suppress(OSError):
        on_disk.remove(replaced)


def open_directory(root: Path) -> None:
    """Make `root` where it is not there, and make sure that it can be written to; `CheckpointError` where not.

    What a crash left half-written or half-removed in it goes, and a checkpoint that it was about to replace is back in its
    place. Only for who holds the directory's `lock`: another process may be writing what looks left behind.
    """
    probe = root / f"{TEMPORARY}probe"
    with _errors(f"The checkpoint directory {root} cannot be written to"):
        on_disk.make_directory(root)
        for left in root.glob(f"{TEMPORARY}*"):
            name = left.name.removeprefix(_REPLACED)
            try:
                if NAME.fullmatch(name) and not os.path.lexists(root / name):
                    left.rename(root / name)
                    on_disk.sync(root)
                else:
                    on_disk.remove(left)
            except OSError as error:  # somebody on another machine still reads it; the probe finds out what matters
                logger.warning("%s was left behind and cannot be removed: %s", left, error)
        probe.mkdir(exist_ok=True)
        probe.rmdir()


def named(root: Path) -> list[Path]:
    """Whatever has a checkpoint's name under `root`, by step, oldest first; none where there is no such directory.

    Raises `CheckpointError` where the directory cannot be listed.
    """
    try:
        # What is being replaced is aside for a moment, and stays there where the process dies in it.
        found = {path.name.removeprefix(_REPLACED): path for path in sorted(Path(root).iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"The checkpoint directory {root} cannot be read: {error.strerror or error}.") from error
    return sorted((path for name, path in found.items() if NAME.fullmatch(name)), key=_step)


def available(root: Path) -> list[SavedCheckpoint]:
    """The checkpoints under `root` by step, oldest first, those with an unreadable manifest left out. Not verified."""
    found = []
    for path in named(root):
        with contextlib.suppress(CheckpointError):
            found.append(describe(path))
    return found


def newest(root: Path) -> SavedCheckpoint:
    """The newest checkpoint under `root` that verifies; `CheckpointError` where there is none."""
    return _first_whole(root, available(root)[::-1], "checkpoint")


def best(root: Path) -> SavedCheckpoint:
    """The checkpoint under `root` with the best monitored value that verifies; the earliest of equals."""
    return _first_whole(root, ranked(available(root)), "checkpoint with a monitored value")


def prune(root: Path, retention: Retention, also: Iterable[SavedCheckpoint] = ()) -> list[SavedCheckpoint]:
    """Remove the checkpoints under `root` that `retention` has no reason to keep and that are not in `also`; returns those.

    The newest and the best stay, and so does what has no readable manifest. Raises `CheckpointError` where one cannot be removed.
    """
    there = available(root)
    kept = {path.name for path in [*retention.reasons(there), *(checkpoint.path for checkpoint in also)]}
    removed = [checkpoint for checkpoint in there if checkpoint.path.name not in kept]
    for checkpoint in removed:
        remove(checkpoint.path)
    return removed


def clear(root: Path) -> None:
    """Remove all checkpoints under `root`, damaged ones and what a crash left of them too, and nothing else.

    Raises `CheckpointError` where one cannot be removed.
    """
    for path in named(root):
        remove(path)
    with _errors(f"The checkpoint directory {root} cannot be cleared"):
        for left in root.glob(f"{TEMPORARY}*"):
            on_disk.remove(left)


def remove(path: Path) -> None:
    """Remove the checkpoint `path`, whole or damaged; `CheckpointError` where that fails.

    At no moment does half of it have a checkpoint's name.
    """
    doomed = path.parent / f"{TEMPORARY}removed-{path.name}"
    with _errors(f"The checkpoint {path} cannot be removed"):
        on_disk.remove(doomed)
        path.rename(doomed)
        on_disk.remove(doomed)


def set_aside(root: Path, after: int = -1) -> Path | None:
    """Move the checkpoints of steps after `after` into a new directory `earlier-001` under `root`; None where there are none.

    By the step in their names, so that damaged ones go too; -1, the default, moves all. Raises `CheckpointError` where they
    cannot be moved.
    """
    old = [path for path in named(root) if _step(path) > after]
    if not old:
        return None
    with _errors(f"The checkpoints of an earlier run in {root} cannot be set aside"):
        return on_disk.move_aside(root, {path: name_of(_step(path)) for path in old})


@contextlib.contextmanager
def _errors(problem: str) -> Iterator[None]:
    """What the file system refuses, or what is nested too deep to be walked, as a `CheckpointError` that says `problem`."""
    try:
        yield
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{problem}: {reason}.") from error


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _first_whole(root: Path, candidates: Iterable[SavedCheckpoint], wanted: str) -> SavedCheckpoint:
    """The first of `candidates` that verifies; every damaged one before it is named in the log, or in the error."""
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


def _refuse_full(path: Path, needed: int, free: int, cause: OSError | None = None) -> NoReturn:
    if cause is not None and cause.errno == errno.EDQUOT:  # which the free space of the disk says nothing about
        expected = f"about {format_size(needed)}" if needed else "more than it leaves"
        problem = f"The disk quota is used up: the checkpoint {path} needs {expected}"
    else:
        # Where it ran out all the same, it was expected too small.
        expected = f"about {format_size(needed)}" if needed > free else f"more than {format_size(free)}"
        problem = f"The disk is full: the checkpoint {path} needs {expected}"
    raise DiskFullError(f"{problem}, and the disk has {format_size(free)} free. Earlier checkpoints are untouched.") from cause


def _full(error: BaseException | None) -> OSError | None:
    """The error of a full disk or quota that `error` comes from, if any: libraries wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        error = error.__cause__ or error.__context__
    return None
