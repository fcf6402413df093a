"""A directory's lock: one run at a time writes into it."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import platform
import stat
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import attrs

from hookcore.errors import CheckpointError
from hookcore.paths import local_path
from hookcore.store import files
from hookcore.text import printable

logger = logging.getLogger("hookcore")

_NAME: Final = ".lock"
_GUARDS: Final = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

# The locks held in this process: a forked child closes them, and who asks for one of them can ask its holder to yield. They are
# held by their runs, and not by this.
_held: Final[weakref.WeakValueDictionary[int, Lock]] = weakref.WeakValueDictionary()
_acquiring = threading.RLock()
"""Held until a lock has its holder's name and is in `_held`: another thread that asks meanwhile would find neither."""


@attrs.define(eq=False)
class Lock:
    """A directory's lock, which is held until `release`, or until this object or the process is gone."""

    _path: Path
    _file: io.FileIO | None = None
    """Not a number: whatever is interrupted, it is closed once at the latest when nothing refers to it."""
    _yields: Callable[[], bool] | None = None
    _free: Callable[[], object] = attrs.field(init=False)
    """Also called if the run was dropped without its end, and at the end of the process."""

    def __attrs_post_init__(self) -> None:
        self._free = weakref.finalize(self, _free, self._path, self._file)

    @property
    def holds(self) -> bool:
        """Whether it keeps other runs out of the directory of that name, as far as the file system has locks."""
        return self._file is None or (not self._file.closed and _names(self._path, self._file))

    def check(self) -> None:
        """Raise `CheckpointError` if the directory was removed, moved or replaced since it was locked.

        Another run may have locked what has its name now, so nothing may be written there.
        """
        if not self.holds:
            raise CheckpointError(
                f"The checkpoint directory {self._path.parent} is no longer this run's: since the run locked it, it was removed, "
                "moved or given to another run. Nothing more is written into it. Train into another directory."
            )

    def release(self) -> None:
        """Let other runs in. Does nothing a second time. The lock file is removed, unless another has replaced it."""
        self._free()

    def __reduce__(self) -> tuple[type[Lock], tuple[Path]]:
        """Make of a copy a lock that holds nothing."""
        return Lock, (self._path,)

    def close(self) -> None:
        """Hold the lock no longer, and leave its file: another process holds it."""
        if self._file is not None:
            self._file.close()

    def names(self, file: io.FileIO) -> bool:
        """Return whether the lock file is open as `file` too."""
        try:
            return self._file is not None and os.path.sameopenfile(self._file.fileno(), file.fileno())
        except ValueError:  # released meanwhile, on another thread
            return False

    def is_yielded(self) -> bool:
        """Return whether the holder gives the lock up, which is free then."""
        if self._yields is None or not self._yields():
            return False
        self.release()
        return True


def lock(root: Path, yields: Callable[[], bool] | None = None) -> Lock:
    """Lock the directory `root`, which is made if it does not exist, and return the lock.

    `yields` is called if another run of this process asks for the lock. It returns whether the holder's run is over, after
    waiting for what is still being written; it must not refer to the lock. A lock that nothing refers to is free, and so is that
    of a process that died, however it died. If the platform or the file system has no locks, the directory is not locked, and
    the log notes that at level DEBUG.

    Raises `CheckpointError` if the lock is held, with the id of the process that holds it, or if `root` cannot be written to.
    """
    path = local_path(root, "directory") / _NAME
    try:
        files.make_directory(path.parent)
        with _acquiring:
            return _acquire(path, yields)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint directory {path.parent} cannot be written to: {error.strerror or error}."
        ) from error


def _acquire(path: Path, yields: Callable[[], bool] | None) -> Lock:
    try:
        import fcntl
    except ImportError as error:  # Windows
        logger.debug("%s is not locked: %s", path.parent, error)
        return Lock(path)
    while True:
        with contextlib.ExitStack() as closing:
            file = closing.enter_context(io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | _GUARDS, 0o666)))
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                _refuse(path, "which is not a plain file. Remove it")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if _holder(file) is not None:
                    gc.collect()  # a run that was dropped without its end is in a cycle
                    mine = _holder(file)
                    if mine is None or mine.is_yielded():
                        continue
                    del mine
                text = printable(os.pread(file.fileno(), 200, 0).decode(errors="replace").strip()) or "(unknown)"
                here = ", which is this one" if text.split()[0] == str(os.getpid()) else ""
                _refuse(path, f"held by process {text}{here}. Stop that run, or save into another directory")
            except OSError as error:
                logger.debug("%s is not locked: %s", path.parent, error)
                return Lock(path)
            if not _names(path, file):
                continue  # its holder removed the file after it was opened here: try again with the new one
            with contextlib.suppress(OSError):  # on a full disk the lock is held, without the holder's name
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"{os.getpid()} on {platform.node()}\n".encode())
            lock = Lock(path, file, yields)
            _held[id(lock)] = lock
            closing.pop_all()
            return lock


def _refuse(path: Path, problem: str) -> NoReturn:
    raise CheckpointError(f"The checkpoint directory {path.parent} is in use: there is a lock {path}, {problem}.")


def _holder(file: io.FileIO) -> Lock | None:
    """Return the lock of this process whose file is open as `file` too, if any."""
    found = (reference() for reference in _held.valuerefs())
    return next((lock for lock in found if lock is not None and lock.names(file)), None)


def _names(path: Path, file: io.FileIO) -> bool:
    """Return whether `path` names the open `file`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _free(path: Path, file: io.FileIO | None) -> None:
    """Free the lock that is open as `file`; first remove the lock file, unless another has replaced it."""
    if file is not None and not file.closed:
        if _names(path, file):
            with contextlib.suppress(OSError):
                path.unlink()
        file.close()


def _close_in_child() -> None:
    """Close the parent's locks in a forked child: they must be free when the parent dies, even if the child lives longer."""
    global _acquiring  # noqa: PLW0603 - another thread of the parent may have held it
    _acquiring = threading.RLock()
    for reference in _held.valuerefs():
        held = reference()
        if held is not None:
            held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
