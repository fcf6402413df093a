"""The operations on the disk: whatever the store, its locks and the logs change there is changed by one of these.

Each is one step that a loss of power may leave undone, or half done, until `sync`. Tests put another in its place, and so know
each step in its order; `tests/power/test_one_module.py` sees to it that there is no other way.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

logger = logging.getLogger("hookcore")

_unsynced: Final[set[Path]] = set()
"""What was added to or created, and not synced since."""


def mkdir(path: Path, *, exist_ok: bool = False) -> None:
    """Make the directory `path`, whose parent exists."""
    path.mkdir(exist_ok=exist_ok)


def rmdir(path: Path) -> None:
    """Remove the empty directory `path`."""
    path.rmdir()


def rmtree(path: Path) -> None:
    """Remove the directory `path` with all that is in it. Links in it are removed, and their targets are not."""
    shutil.rmtree(path)


def unlink(path: Path) -> None:
    """Remove the file or the link `path`."""
    path.unlink()


def rename(path: Path, target: Path) -> None:
    """Give `path` the name `target`. On POSIX a file that has it is replaced."""
    path.rename(target)


def replace(path: Path, target: Path) -> None:
    """Give the file `path` the name `target`; a file that has it is replaced, on every platform."""
    path.replace(target)


def write(path: Path, content: bytes) -> None:
    """Make `content` the content of the file `path`, which is made if it does not exist. Not to be used on what is relied on."""
    path.write_bytes(content)


def write_parts(path: Path, parts: Iterable[memoryview]) -> None:
    """Write `parts`, one after the other, into the new file `path`, of a directory that gets its name when it is synced."""
    with io.FileIO(path, "x") as file:
        for part in parts:
            _write_all(file.fileno(), part)


def truncate(path: Path, length: int) -> None:
    """Cut the file `path` after `length` bytes."""
    os.truncate(path, length)


def create(path: Path) -> int:
    """Make the file `path`, which must not exist, and return a descriptor for `append`."""
    _unsynced.update((path.absolute(), path.parent.absolute()))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def open_end(path: Path) -> int:
    """Open the file `path` at its end, make it if it does not exist, and return a descriptor for `append`."""
    # Without waiting for the reader of a pipe that took the file's name.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not path.exists():
        _unsynced.update((path.absolute(), path.parent.absolute()))
    return os.open(path, flags, 0o666)


def append(descriptor: int, path: Path, content: bytes) -> None:
    """Write all of `content` at the end of the file `path`, which `create` or `open_end` has opened."""
    _write_all(descriptor, content)
    _unsynced.add(path.absolute())


def _write_all(descriptor: int, content: bytes | memoryview) -> None:
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[os.write(descriptor, unwritten) :]


def open_lock(path: Path, *, follows_links: bool) -> io.FileIO:
    """Open the file `path` to lock it; it is made if it does not exist. A pipe is not waited for."""
    guards = os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | (0 if follows_links else getattr(os, "O_NOFOLLOW", 0))
    return io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | guards, 0o666))


def overwrite(file: io.FileIO, content: bytes) -> None:
    """Make `content` the content of a file that `open_lock` has opened."""
    os.ftruncate(file.fileno(), 0)
    os.write(file.fileno(), content)


def sync(path: Path) -> None:
    """Wait until what was written to the file `path`, or what was named in the directory `path`, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_appended(path: Path | None = None) -> None:
    """Sync the files that were added to, and the names of those that were created, since they were synced: `path`, or all.

    What cannot be synced is named in the log.
    """
    named = None if path is None else (path.absolute(), path.parent.absolute())
    # A copy, made in one step: another thread may add to the set meanwhile.
    for one in sorted(one for one in tuple(_unsynced) if named is None or one in named):
        _unsynced.discard(one)  # first, so that what is added meanwhile is synced the next time
        try:
            if one.is_dir() or one.is_file():  # a pipe or a device has nothing to sync
                sync(one)
        except OSError as error:
            logger.warning("%s may lose its last lines if the power is lost: %s", one, error)


# What changes nothing that outlives the process.


def open_for_reading(path: Path, *, follows_links: bool) -> io.BufferedReader:
    """Open the file `path`. A pipe is not waited for."""
    guards = getattr(os, "O_NONBLOCK", 0) | (0 if follows_links else getattr(os, "O_NOFOLLOW", 0))
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | guards))


def send(path: Path, content: bytes) -> None:
    """Write `content` to the pipe, terminal or other device `path`.

    Raises `OSError` for a pipe that no process reads, and for a disk.
    """
    # Without waiting for a pipe's reader, which may never come; and without making the terminal that of this process.
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        if stat.S_ISBLK(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "It is a disk", str(path))
        os.set_blocking(descriptor, True)
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def scratch(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Return a directory of the system's for temporary files, which is removed after the `with`."""
    return tempfile.TemporaryDirectory(prefix=prefix)
