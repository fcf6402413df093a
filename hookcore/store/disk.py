"""The operations on the disk: the store, its locks and the logs change the disk only through these.

Each is one step, which a loss of power may leave undone or half done until `sync`. Tests replace them to record each step in
order; `tests/power/test_one_module.py` checks that no other module changes the disk.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import shutil
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

logger = logging.getLogger("hookcore")

_PIECE_SIZE: Final = 2**22
"""The number of bytes after which the disk is told to begin."""

_unsynced: Final[set[Path]] = set()
"""Files and directories that were created or appended to, and not synced since."""


def mkdir(path: Path, *, exist_ok: bool = False) -> None:
    """Make the directory `path`, whose parent exists."""
    path.mkdir(exist_ok=exist_ok)


def rmdir(path: Path) -> None:
    """Remove the empty directory `path`."""
    path.rmdir()


def rmtree(path: Path) -> None:
    """Remove the directory `path` with everything in it. Links in it are removed, and their targets are not."""
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
    """Write `content` to the file `path`, which is created or overwritten. Not durable: use it only for temporary files."""
    path.write_bytes(content)


def write_parts(path: Path, parts: Iterable[memoryview]) -> None:
    """Write `parts`, views of bytes, one after the other into the new file `path`. Not durable: use it only for temporary files.

    The disk begins at once, if the system can tell it to, so that a `sync` has little left to wait for.
    """
    with io.FileIO(path, "x") as file:
        descriptor, told, written = file.fileno(), 0, 0
        for part in parts:
            for begin in range(0, len(part), _PIECE_SIZE):
                piece = part[begin : begin + _PIECE_SIZE]
                write_all(descriptor, piece)
                written += len(piece)
                if written - told >= _PIECE_SIZE:
                    _begin_to_sync(descriptor, told, written)
                    told = written


def _begin_to_sync(descriptor: int, start: int, end: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a file system may not know it
            # Before Linux can drop pages it must write them, which it begins at once; it does not wait until they are written.
            os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)


def truncate(path: Path, length: int) -> None:
    """Cut the file `path` after `length` bytes."""
    os.truncate(path, length)


def create(path: Path) -> int:
    """Create the file `path`, which must not exist, and return a descriptor for `append`."""
    _unsynced.update((path.absolute(), path.parent.absolute()))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def open_end(path: Path) -> int:
    """Open the file `path` at its end, or create it, and return a descriptor for `append`."""
    # Does not wait for the reader of a pipe that has taken the file's name.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not path.exists():
        _unsynced.update((path.absolute(), path.parent.absolute()))
    return os.open(path, flags, 0o666)


def append(descriptor: int, path: Path, content: bytes) -> None:
    """Write all of `content` at the end of the file `path`, which `create` or `open_end` has opened."""
    write_all(descriptor, content)
    _unsynced.add(path.absolute())


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of `content` to an open file. The system may write less at once: Linux writes at most 2 GiB."""
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[os.write(descriptor, unwritten) :]


def open_lock(path: Path, *, follows_links: bool) -> io.FileIO:
    """Open the file `path` to lock it, or create it. Does not wait for the other end of a pipe."""
    guards = os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | (0 if follows_links else getattr(os, "O_NOFOLLOW", 0))
    return io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | guards, 0o666))


def overwrite(file: io.FileIO, content: bytes) -> None:
    """Replace the content of a file that `open_lock` has opened."""
    os.ftruncate(file.fileno(), 0)
    os.write(file.fileno(), content)


def sync(path: Path) -> None:
    """Wait until the content of the file `path`, or the names in the directory `path`, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_appended(path: Path | None = None) -> None:
    """Sync the files that were created or appended to since they were synced, and their names: `path`, or all by default.

    The log names what cannot be synced.
    """
    named = None if path is None else (path.absolute(), path.parent.absolute())
    # A copy that is made in one step, because another thread may add to the set meanwhile.
    for one in sorted(one for one in tuple(_unsynced) if named is None or one in named):
        _unsynced.discard(one)  # first, so that what is added meanwhile is synced the next time
        try:
            if one.is_dir() or one.is_file():  # a pipe or a device has nothing to sync
                sync(one)
        except OSError as error:
            logger.warning("%s may lose its last lines if the power is lost: %s", one, error)


# Operations that change nothing that outlives the process.


def open_for_reading(path: Path, *, follows_links: bool) -> io.BufferedReader:
    """Open the file `path`. Does not wait for the other end of a pipe."""
    guards = getattr(os, "O_NONBLOCK", 0) | (0 if follows_links else getattr(os, "O_NOFOLLOW", 0))
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | guards))


def send(path: Path, content: bytes) -> None:
    """Write `content` to the pipe, terminal or other device `path`.

    Raises `OSError` for a pipe that no process reads, and for a disk.
    """
    # Does not wait for a pipe's reader, which may never come, and does not make a terminal the controlling one.
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        if stat.S_ISBLK(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "It is a disk", str(path))
        os.set_blocking(descriptor, True)
        write_all(descriptor, content)
    finally:
        os.close(descriptor)


def scratch(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Return a new directory in the system's place for temporary files. The end of its `with` block removes it."""
    return tempfile.TemporaryDirectory(prefix=prefix)
