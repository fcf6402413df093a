"""A directory's lock: one process at a time writes into it."""

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
from hookcore.paths import local_path
from hookcore.store import files
from hookcore.text import printable

logger = logging.getLogger("hookcore")

_NAME: Final = ".lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

# The locks that this process holds, so that asking again finds them. By device and inode, as one directory has many paths.
_held: Final[dict[tuple[int, int], Lock]] = {}


@attrs.define(eq=False)
class Lock:
    """A directory's lock, which this process holds until `release`, or until it dies."""

    _path: Path
    _descriptor: int | None = None

    def release(self) -> None:
        """Let other processes in. Does nothing a second time, or after this process has asked for the lock again.

        The lock file is removed, unless another process has replaced it.
        """
        descriptor = self._descriptor
        if descriptor is not None:
            # First, so that the directory is free wherever Ctrl-C comes: until then the next run takes the lock over.
            if _names(self._path, descriptor):
                with contextlib.suppress(OSError):
                    self._path.unlink()
            del _held[_identity(os.fstat(descriptor))]
            self._descriptor = None
            os.close(descriptor)


def lock(root: Path) -> Lock:
    """Lock the directory `root`, which is made if it does not exist, and return the lock.

    If this process holds the lock, it passes to the new `Lock`: a notebook in which a run was interrupted can train again. The
    operating system frees the lock of a process that dies, however it dies. If the platform or the file system has no locks, the
    directory is not locked, and the log notes that at level DEBUG.

    Raises `CheckpointError` if another process holds the lock, with the id of that process, or if `root` cannot be written to.
    """
    root = local_path(root, "directory")
    path = root / _NAME
    try:
        files.make_directory(root)
        with contextlib.suppress(FileNotFoundError):
            mine = _held.get(_identity(path.stat()))
            if mine is not None:
                return _pass_on(path, mine)
        return _acquire(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"The checkpoint directory {root} cannot be written to: {error.strerror or error}.") from error


def _pass_on(path: Path, earlier: Lock) -> Lock:
    # In this order, so that the lock is found wherever Ctrl-C comes.
    lock = _held[_identity(path.stat())] = Lock(path, earlier._descriptor)  # noqa: SLF001 - of its own class
    earlier._descriptor = None  # noqa: SLF001
    return lock


def _acquire(path: Path) -> Lock:
    try:
        import fcntl
    except ImportError as error:  # Windows
        logger.debug("%s is not locked: %s", path.parent, error)
        return Lock(path)
    while True:
        descriptor, lock = os.open(path, _FLAGS, 0o666), None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                problem = "which is not a plain file. Remove it"
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _names(path, descriptor):
                    with contextlib.suppress(OSError):  # on a full disk the lock is held, without the holder's name
                        os.ftruncate(descriptor, 0)
                        os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())
                    lock = _held[_identity(os.fstat(descriptor))] = Lock(path, descriptor)
                    return lock
                problem = ""  # its holder removed the file after it was opened here: try again with the new one
        except BlockingIOError:
            holder = printable(os.read(descriptor, 200).decode(errors="replace").strip())
            problem = f"held by process {holder or '(unknown)'}. Stop it, or save into another directory"
        except OSError as error:
            logger.debug("%s is not locked: %s", path.parent, error)
            return Lock(path)
        finally:
            if lock is None:  # also if Ctrl-C comes in between: nothing would free it
                os.close(descriptor)
        if problem:
            raise CheckpointError(f"The checkpoint directory {path.parent} is in use: there is a lock {path}, {problem}.")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _names(path: Path, descriptor: int) -> bool:
    """Return whether `path` names the file that is open as `descriptor`."""
    try:
        return _identity(path.stat()) == _identity(os.fstat(descriptor))
    except OSError:
        return False


def _close_in_child() -> None:
    """Close the parent's locks in a forked child: they must be freed when the parent dies, even if the child lives longer."""
    for lock in _held.values():
        if lock._descriptor is not None:  # noqa: SLF001
            os.close(lock._descriptor)  # noqa: SLF001
            lock._descriptor = None  # noqa: SLF001
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
