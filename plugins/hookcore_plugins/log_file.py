"""Read, replace and add to a log file, for the plugins that write one."""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, TypeVar

from hookcore import store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hookcore import Run

logger = logging.getLogger("hookcore")

Row = TypeVar("Row")

# Bytes that are no UTF-8 are kept as they are.
_UNDECODABLE = "surrogateescape"

# Without waiting for the reader of a pipe that took the file's name.
_APPEND_FLAGS = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def earlier_lines(path: Path, run: Run, *, append: bool) -> str:
    """Return the whole lines of the file at `path` that this run continues: none unless it is resumed or `append` is True.

    Makes the file's directory. A file that the run does not continue is moved aside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return ""
    if run.resumed_from is None and not append:
        set_aside(path, run)
        return ""
    text = read(path)
    # A line without its end was torn by a crash.
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


def replace(path: Path, text: str) -> None:
    """Make `text` the file's content, so that a crash leaves the old or the new content, never a part."""
    store.write_bytes(path, text.encode(errors=_UNDECODABLE))


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


def add(path: Path, text: str, *, create: bool = True) -> bool:
    """Add `text` at the end of the file, and return True; False if the file does not exist and `create` is False.

    The file is not held open: an exception anywhere leaves nothing unwritten. Raises `OSError`.
    """
    # Not `Path.open`, whose buffers cost more than the system's calls.
    try:
        file = os.open(path, _APPEND_FLAGS | os.O_CREAT if create else _APPEND_FLAGS, 0o666)
    except FileNotFoundError:
        if create:
            raise
        return False
    try:
        data = text.encode(errors=_UNDECODABLE)
        while data:
            data = data[os.write(file, data) :]
    finally:
        os.close(file)
    return True
