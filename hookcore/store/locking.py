"""Locks: one run at a time writes into a directory, or to a file."""

from __future__ import annotations

import contextlib
import functools
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
from typing import Final, NoReturn, cast

import attrs

from hookcore.errors import CheckpointError, HookcoreError
from hookcore.paths import local_path
from hookcore.store import disk, files
from hookcore.text import printable

logger = logging.getLogger("hookcore")

_NAME: Final = ".lock"

# The locks held in this process, so that a forked child can close them, and a run that wants one can ask its holder to yield.
# Weak, because their runs own them.
_held: Final[weakref.WeakValueDictionary[int, Lock]] = weakref.WeakValueDictionary()
_acquiring = threading.RLock()
"""Held until a lock has its holder's name and is in `_held`, so that another thread that asks for it finds both."""


@attrs.define(eq=False)
class Lock:
    """The lock of a directory or a file, held until `release`, or until this object or the process ends."""

    _path: Path
    _file: io.FileIO | None = None
    """An object and not a descriptor, so that it is closed exactly once, at the latest when nothing refers to it."""
    _yields: Callable[[], bool] | None = None
    holder: str = ""
    """The holder's name, for messages; empty for the lock of a directory."""
    _removes: bool = attrs.field(default=False, kw_only=True)
    """Whether its file exists only for the lock, and is removed with it."""
    _free: Callable[[], object] = attrs.field(init=False)
    """Also called if the run is dropped before its end, and at the end of the process."""

    def __attrs_post_init__(self) -> None:
        self._free = weakref.finalize(self, _free, self._path, self._file, removes=self._removes)

    @property
    def holds(self) -> bool:
        """Whether it keeps other runs from the path, as far as the file system has locks."""
        return self._file is None or (not self._file.closed and _names(self._path, self._file))

    def check(self) -> None:
        """Raise `CheckpointError` if the directory was removed, moved or replaced since it was locked.

        Another run may have locked the directory that has the name now, so nothing may be written there.
        """
        if not self.holds:
            raise CheckpointError(
                f"The checkpoint directory {self._path.parent} is no longer this run's: since the run locked it, it was removed, "
                "moved or given to another run. Nothing more is written into it. Train into another directory."
            )

    def release(self) -> None:
        """Free the lock; a second call does nothing. A directory's lock file is removed, unless another has replaced it."""
        self._free()

    def __reduce__(self) -> tuple[type[Lock], tuple[Path]]:
        """Make a copy that holds nothing."""
        return Lock, (self._path,)

    def close(self) -> None:
        """Stop holding the lock, and leave its file, because another process holds it."""
        if self._file is not None:
            self._file.close()

    def names(self, file: io.FileIO) -> bool:
        """Return whether `file` is the locked file, opened again."""
        try:
            return self._file is not None and os.path.sameopenfile(self._file.fileno(), file.fileno())
        except ValueError:  # released meanwhile, on another thread
            return False

    def is_yielded(self) -> bool:
        """Return whether the holder gives up the lock, and free it if so."""
        if self._yields is None or not self._yields():
            return False
        self.release()
        return True


def lock(root: Path, yields: Callable[[], bool] | None = None) -> Lock:
    """Lock the directory `root`, which is made if it does not exist, and return the lock.

    `yields` is called if another run of this process asks for the lock. It waits for what is still being written, and returns
    whether the holder's run is over; it must not refer to the lock. A lock is freed when nothing refers to it, and when its
    process dies, however it dies. If the platform or the file system has no locks, the directory is not locked, and the log has a
    line at level DEBUG.

    Raises `CheckpointError` if the lock is held, with the id of the process that holds it, or if `root` cannot be written to.
    """
    path = local_path(root, "directory") / _NAME

    def hold(file: io.FileIO) -> Lock:
        with contextlib.suppress(OSError):  # on a full disk the lock is held, without the holder's name
            disk.overwrite(file, f"{os.getpid()} on {platform.node()}\n".encode())
        return Lock(path, file, yields, removes=True)

    try:
        files.make_directory(path.parent)
        return _acquire(path, functools.partial(_refuse_directory, path), hold) or Lock(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint directory {path.parent} cannot be written to: {error.strerror or error}."
        ) from error


def _refuse_directory(path: Path, file: io.FileIO, mine: Lock | None) -> NoReturn:
    del mine
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        problem = "which is not a plain file. Remove it"
    else:
        text = printable(os.pread(file.fileno(), 200, 0).decode(errors="replace").strip()) or "(unknown)"
        here = ", which is this one" if text.split()[0] == str(os.getpid()) else ""
        problem = f"held by process {text}{here}. Stop that run, or save into another directory"
    raise CheckpointError(f"The checkpoint directory {path.parent} is in use: there is a lock {path}, {problem}.")


def lock_file(path: Path, holder: str, yields: Callable[[], bool] | None = None, *, written: Path | None = None) -> Lock:
    """Lock the file `path`, which is made if it does not exist, for `holder`, a plugin's name, and return the lock.

    The file itself is locked, without a lock file beside it. `yields` is that of `lock`, and the lock is freed in the same cases.
    If another file, `written`, will replace `path`, that file is locked before it gets the name. A pipe or a device is not
    locked.

    Raises `HookcoreError` if the lock is held; the error names the holder in this process, or the other process if it is known.
    Raises `OSError` if the file cannot be opened.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        return Lock(path)

    def refuse(file: io.FileIO, mine: Lock | None) -> NoReturn:
        if mine is None:
            process = _process_that_locks(file) or "another process"
            raise HookcoreError(f"{holder}: {path} is in use: {process} writes it. Stop that run, or write another file.")
        raise HookcoreError(
            f"{holder}: {path} is in use: {mine.holder} writes it, in a run of this process that has not ended. "
            "Give each plugin of each run a file of its own."
        )

    hold = functools.partial(Lock, path, yields=yields, holder=holder)
    return _acquire(path if written is None else written, refuse, hold, follows_links=True) or Lock(path)


def is_locked(path: Path) -> bool | None:
    """Return whether a run of this or another process holds the lock of the file `path`; None if that is unknown.

    If the system does not list its locks, the file is locked for a moment, which could refuse a run that asks then.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        try:
            with disk.open_for_reading(path, follows_links=True) as buffered:
                file = cast("io.FileIO", buffered.raw)
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                if _process_that_locks(file) is not None:
                    return True
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                if _names(path, file):
                    return False
        except OSError:  # it was removed, or the file system has no locks
            return None


def _acquire(
    path: Path,
    refuse: Callable[[io.FileIO, Lock | None], NoReturn],
    hold: Callable[[io.FileIO], Lock],
    *,
    follows_links: bool = False,
) -> Lock | None:
    """Open and lock the file `path`, and return `hold(file)`; None if there are no locks.

    If the file is locked or is not a plain file, `refuse` is called with the open file, and with its lock if this process holds
    it.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        logger.debug("%s is not locked: %s", path, error)
        return None
    while True:
        with contextlib.ExitStack() as closing:
            file = closing.enter_context(disk.open_lock(path, follows_links=follows_links))
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                refuse(file, None)
            with _acquiring:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    is_here = _holder(file) is not None
                    if is_here:
                        gc.collect()  # frees a run that was dropped before its end, because that is in a reference cycle
                    mine = _holder(file)
                except OSError as error:
                    logger.debug("%s is not locked: %s", path, error)
                    return None
                else:
                    if not _names(path, file):
                        continue  # the holder removed the file after it was opened here: try again with the new one
                    lock = hold(file)
                    _held[id(lock)] = lock
                    closing.pop_all()
                    return lock
            # After `_acquiring` was released, so that other threads do not wait for what this holder still writes.
            if not is_here or (mine is not None and not mine.is_yielded()):
                refuse(file, mine)


def _process_that_locks(file: io.FileIO) -> str | None:
    """Return the process that has locked `file`, for messages; None if no lock is listed. Linux lists most locks."""
    status = os.fstat(file.fileno())
    mark = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():  # 1: FLOCK  ADVISORY  WRITE 708 08:01:4711 0 EOF
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5:6] == [mark]:
                return f"process {words[4]}"
    return None


def _holder(file: io.FileIO) -> Lock | None:
    """Return the lock of this process whose file is `file`, or None."""
    found = (reference() for reference in _held.valuerefs())
    return next((lock for lock in found if lock is not None and lock.names(file)), None)


def _names(path: Path, file: io.FileIO) -> bool:
    """Return whether `path` names the open `file`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _free(path: Path, file: io.FileIO | None, *, removes: bool) -> None:
    """Free the lock whose open file is `file`. If `removes`, first remove its file at `path`, unless another has replaced it."""
    if file is not None and not file.closed:
        if removes and _names(path, file):
            with contextlib.suppress(OSError):
                disk.unlink(path)
        file.close()


def _close_in_child() -> None:
    """Close the parent's locks in a forked child: they must be free when the parent dies, even if the child lives longer."""
    global _acquiring  # noqa: PLW0603 - a thread of the parent may have held it
    _acquiring = threading.RLock()
    for reference in _held.valuerefs():
        held = reference()
        if held is not None:
            held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
