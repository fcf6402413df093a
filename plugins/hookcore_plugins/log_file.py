"""Lock, read, replace and add to a log file, for the plugins that write one."""

from __future__ import annotations

import functools
import logging
import math
import os
import stat
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from hookcore import store
from hookcore.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcore import Run

logger = logging.getLogger("hookcore")

Row = TypeVar("Row")

# Keep bytes that are not UTF-8.
_UNDECODABLE = "surrogateescape"


def earlier_lines(path: Path, run: Run, *, append: bool) -> str:
    """Return the complete lines of the file at `path` if the run continues it: if it is resumed, or if `append` is True.

    Otherwise, or if no line is complete, move the file aside and return an empty string.
    """
    if run.resumed_from is None and not append:
        set_aside(path, run)
        return ""
    text = read(path)
    # A crash can cut the last line short, and a loss of power can leave zeros.
    text = text.partition("\0")[0]
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        set_aside(path, run)
    return whole


def read(path: Path) -> str:
    """Return the file's content with its line ends unchanged. Raises `OSError`, also for more than 1 GiB."""
    return store.read_file(path).decode(errors=_UNDECODABLE)


def set_aside(path: Path, run: Run) -> None:
    """Move an earlier run's log to `log.1.csv` or the next number; an empty file is left."""
    if path.stat().st_size > 0:
        logger.info("%s: the log of an earlier run is now in %s", run.plugin, store.move_file_aside(path))


def rows_up_to(rows: Iterable[Row], step: int, step_of: Callable[[Row], float | None]) -> list[Row]:
    """Return `rows` without those at the end that are past `step`.

    Only rows of the last run are dropped. Read from the end, its rows stop where the step rises.
    """
    kept = list(rows)
    following = math.inf
    while kept and (here := step_of(kept[-1])) is not None and step < here <= following:
        following = here
        kept.pop()
    return kept


class _End:
    """The end of a file, open to add to it until nothing refers to this object."""

    def __init__(self, path: Path) -> None:
        self.descriptor = disk.open_end(path)
        weakref.finalize(self, os.close, self.descriptor)
        self._opened, self._process = os.fstat(self.descriptor), os.getpid()

    def is_at(self, path: Path) -> bool:
        """Return whether `path` names the open file, and this is the process that opened it.

        The file may have been removed, renamed or replaced, also by another run, which replaces it before it adds to it. In a
        forked child the file is the parent's.
        """
        try:
            return os.path.samestat(path.stat(), self._opened) and os.getpid() == self._process
        except OSError:
            return False


@attrs.define(eq=False)
class LogFile:
    """A file that one plugin of one run writes until `close`. It is locked, so that no other plugin or run writes it.

    If the run has ended or was abandoned, it gives up the lock when another run asks for it.
    """

    path: Path
    _plugin: str
    _yields: Callable[[], bool] | None = None
    _lock: store.Lock | None = None
    _left: os.stat_result | None = None
    """The file's status after the latest write; None before the first."""
    _end: _End | None = None
    """Opened by the first `add`, and not by each: that takes longer than writing a line."""

    @classmethod
    def open(cls, path: Path, run: Run) -> Self:
        """Lock the file at `path`, which is made with its directory. Raises `HookcoreError`, which names the holder."""
        store.make_directory(path.parent)
        opened = cls(path, run.plugin, functools.partial(_is_over, weakref.ref(run)))
        opened._lock_again()
        return opened

    def close(self) -> None:
        """Sync what was added to the file, then unlock it."""
        disk.sync_appended(self.path)
        self._end = None
        if self._lock is not None:
            self._lock.release()

    def replace(self, text: str) -> None:
        """Replace the file's content by `text`. A crash leaves the old content or the new, never a part."""
        locks: list[store.Lock] = []

        def write(aside: Path) -> None:
            disk.write(aside, text.encode(errors=_UNDECODABLE))
            locks.append(store.lock_file(self.path, self._plugin, self._yields, written=aside))

        try:
            self._lock_again()
            self._end = None  # closed: Windows does not replace an open file
            store.write_file(self.path, write)
            self._left = self.path.stat()
            self.close()
            self._lock = locks[0]
        except BaseException:
            self.close()  # the plugin may not be called again; what it writes later locks the file again
            raise

    def is_changed(self) -> bool:
        """Return whether another program has removed, replaced, cut or extended the file since the latest write."""
        try:
            now = self.path.stat()
        except OSError:
            return True
        left = self._left
        return left is None or not os.path.samestat(now, left) or (stat.S_ISREG(now.st_mode) and now.st_size != left.st_size)

    def read(self) -> str:
        """Return the file's content; an empty string if it does not exist. Raises `OSError`, as `read` does."""
        try:
            return read(self.path) if self.path.exists() else ""
        except BaseException:
            self.close()
            raise

    def add(self, text: str) -> None:
        """Add `text` at the end of the file.

        When this returns, every process of this machine can read the text; on NFS, other machines may have to wait until the
        system writes it, some seconds. Raises `OSError`, and `HookcoreError` if the file was removed or replaced and another run
        writes the file that has its name now.
        """
        try:
            if self._end is None or not self._end.is_at(self.path):
                end = _End(self.path)  # first: the lock makes a file that is missing, and its name would not be synced
                self._lock_again()
                self._end = end
            # Without a buffer: an exception anywhere leaves nothing unwritten.
            disk.append(self._end.descriptor, self.path, text.encode(errors=_UNDECODABLE))
            self._left = os.fstat(self._end.descriptor)
        except BaseException:
            self.close()
            raise

    def _lock_again(self) -> None:
        """Lock the file at `path`, unless that is the one that is locked already."""
        if self._lock is None or not self._lock.holds:
            self.close()
            self._lock = store.lock_file(self.path, self._plugin, self._yields)

    def __reduce__(self) -> tuple[type[LogFile], tuple[Path, str]]:
        """Give a copy the path and the name, without the lock and the open file."""
        return LogFile, (self.path, self._plugin)


def _is_over(reference: Callable[[], Run | None]) -> bool:
    run = reference()
    return run is None or not run.may_go_on
