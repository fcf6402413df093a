"""A directory's lock: one process at a time trains into it."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import stat
from pathlib import Path
from typing import Final

import attrs

from hookcore.errors import CheckpointError
from hookcore.store import files
from hookcore.text import printable

logger = logging.getLogger("hookcore")

_NAME: Final = ".lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

# A lock is the process's: whoever asks again must find it. By device and inode, as one directory has many paths.
_held: Final[dict[tuple[int, int], Lock]] = {}


@attrs.define(eq=False)
class Lock:
    """The lock of a directory, this process's until `release`, or until the process dies."""

    _path: Path
    _descriptor: int | None = None

    def release(self) -> None:
        """Let other processes in. Does nothing a second time, or after this process has asked for the lock again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            del _held[_identity(os.fstat(descriptor))]
            if _is_at(self._path, descriptor):
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(descriptor)


def lock(root: Path) -> Lock:
    """The lock of the directory `root`, which is made where it is not there.

    Where this process has it, it goes over to the new `Lock`: a notebook in which a run was interrupted can train again. A
    process that dies gives it back, however it dies. Where the platform or the file system has no locks, everybody is let in.
    Raises `CheckpointError` where another process has it, with the id of that process, and where `root` cannot be written to.
    """
    path = root / _NAME
    try:
        files.make_directory(root)
        with contextlib.suppress(FileNotFoundError):
            mine = _held.get(_identity(path.stat()))
            if mine is not None:
                return _taken(path, mine)
        return _acquired(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"The checkpoint directory {root} cannot be written to: {error.strerror or error}.") from error


def _taken(path: Path, earlier: Lock) -> Lock:
    lock = Lock(path, earlier._descriptor)  # noqa: SLF001 - of its own class
    earlier._descriptor = None  # noqa: SLF001
    _held[_identity(path.stat())] = lock
    return lock


def _acquired(path: Path) -> Lock:
    try:
        import fcntl
    except ImportError as error:  # Windows
        logger.debug("%s is not locked: %s", path.parent, error)
        return Lock(path)
    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                problem = "which is no plain file"
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):
                    break
                problem = ""  # its holder has removed it since it was opened
        except BlockingIOError:
            holder = printable(os.read(descriptor, 200).decode(errors="replace").strip())
            problem = f"held by process {holder or '(unknown)'}. Stop it, or save into another directory"
        except OSError as error:
            os.close(descriptor)
            logger.debug("%s is not locked: %s", path.parent, error)
            return Lock(path)
        os.close(descriptor)
        if problem:
            raise CheckpointError(f"The checkpoint directory {path.parent} is in use: there is a lock {path}, {problem}.")
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())
    lock = _held[_identity(os.fstat(descriptor))] = Lock(path, descriptor)
    return lock


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file that is open as `descriptor` is the one called `path`."""
    try:
        return _identity(path.stat()) == _identity(os.fstat(descriptor))
    except OSError:
        return False


def _forget() -> None:
    """In a forked child: the lock is the parent's, and must be gone when the parent is, though the child lives on."""
    for lock in _held.values():
        if lock._descriptor is not None:  # noqa: SLF001
            os.close(lock._descriptor)  # noqa: SLF001
            lock._descriptor = None  # noqa: SLF001
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
