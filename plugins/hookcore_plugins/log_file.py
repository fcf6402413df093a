"""Lock, read, replace and add to a log file, for the plugins that write one."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from hookcore import store
from hookcore.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hookcore import Run

logger = logging.getLogger("hookcore")

Row = TypeVar("Row")

# Bytes that are no UTF-8 are kept as they are.
_UNDECODABLE = "surrogateescape"


def earlier_lines(path: Path, run: Run, *, append: bool) -> str:
    """Return the whole lines of the file at `path` that this run continues: none unless it is resumed or `append` is True.

    A file that the run does not continue is moved aside.
    """
    if run.resumed_from is None and not append:
        set_aside(path, run)
        return ""
    text = read(path)
    # A line without its end was torn by a crash, and zeros are what was never written when the power was lost.
    text = text.partition("\0")[0]
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        set_aside(path, run)
    return whole


def read(path: Path) -> str:
    """Return the file's content, line ends as they are. Raises `OSError`, also for more than 1 GiB."""
    return store.read_file(path).decode(errors=_UNDECODABLE)


def set_aside(path: Path, run: Run) -> None:
    """Move an earlier run's log to `log.1.csv` or the next number; an empty file is left."""
    if path.stat().st_size > 0:
        logger.info("%s: the log of an earlier run is now in %s", run.plugin, store.move_file_aside(path))


def rows_up_to(rows: Iterable[Row], step: int, step_of: Callable[[Row], float | None]) -> list[Row]:
    """Return `rows` without those at the end that are past `step`.

    Only the last run's rows are dropped: where the step rises, seen from the end, an earlier run's rows begin.
    """
    kept = list(rows)
    following = math.inf
    while kept and (here := step_of(kept[-1])) is not None and step < here <= following:
        following = here
        kept.pop()
    return kept


@attrs.define(eq=False)
class LogFile:
    """A file that one plugin of one run writes, until `close`: it is locked, so that no other does.

    Another run gets it too if this one has ended or was abandoned.
    """

    path: Path
    _plugin: str
    _yields: Callable[[], bool] | None = None
    _lock: store.Lock | None = None

    @classmethod
    def open(cls, path: Path, run: Run) -> Self:
        """Lock the file at `path`, which is made with its directory. Raises `HookcoreError`, which names who writes it."""
        store.make_directory(path.parent)
        opened = cls(path, run.plugin, functools.partial(_is_over, weakref.ref(run)))
        opened._lock_again()
        return opened

    def close(self) -> None:
        """Let others write the file. What was added to it is on the disk then."""
        disk.sync_appended(self.path)
        if self._lock is not None:
            self._lock.release()

    def replace(self, text: str) -> None:
        """Make `text` the file's content, so that a crash leaves the old or the new content, never a part."""
        locks: list[store.Lock] = []

        def write(aside: Path) -> None:
            disk.write(aside, text.encode(errors=_UNDECODABLE))
            locks.append(store.lock_file(self.path, self._plugin, self._yields, written=aside))

        with self._closing_on_error():
            self._lock_again()
            store.write_file(self.path, write)
            self.close()
            self._lock = locks[0]

    def add(self, text: str, *, create: bool = True) -> bool:
        """Add `text` at the end of the file, and return True; False if the file does not exist and `create` is False.

        The file is not held open for it: an exception anywhere leaves nothing unwritten. Raises `OSError`, and `HookcoreError` if
        the file was removed or replaced, and another run writes what has its name.
        """
        if not create and not self.path.exists():
            return False
        with self._closing_on_error():
            self._lock_again()
            # Not `Path.open`, whose buffers cost more than the system's calls.
            file = disk.open_end(self.path)
            try:
                disk.append(file, self.path, text.encode(errors=_UNDECODABLE))
            finally:
                os.close(file)
        return True

    def _lock_again(self) -> None:
        """Lock what has the file's name, if that is not what is locked."""
        if self._lock is None or not self._lock.holds:
            self.close()
            self._lock = store.lock_file(self.path, self._plugin, self._yields)

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Close at an error, after which the plugin may not be called again. What it writes later locks the file again."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def __reduce__(self) -> tuple[type[LogFile], tuple[Path, str]]:
        """Make of a copy one that holds nothing."""
        return LogFile, (self.path, self._plugin)


def _is_over(reference: Callable[[], Run | None]) -> bool:
    run = reference()
    return run is None or not run.may_go_on
