"""What the plugins that write a log file share: the path, and what becomes of a file that is already there."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hookcore.errors import ParameterError
from hookcore.run import logger
from hookcore.validators import reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from attrs import Attribute

    from hookcore import Run

Row = TypeVar("Row")

# Bytes that are no UTF-8 are kept as they are.
_ERRORS = "surrogateescape"

_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def to_path(value: str | Path) -> Path:
    """`value` as a path; `ParameterError` where it is none."""
    try:
        return Path(value)
    except TypeError:
        raise ParameterError(f"path must be a string or a path, got {value!r}.") from None


def check_path(instance: Any, attribute: Attribute[Path], value: Path) -> None:
    """Refuse, as an attrs validator, a path that is no place for a file: a directory, a device, anything beneath a file."""
    name = attribute.alias or attribute.name
    if value.exists() and not value.is_file():
        reject(instance, name, str(value), "a file, and this is " + ("a directory" if value.is_dir() else "none"))
    parent = next(parent for parent in value.absolute().parents if parent.exists())
    if not parent.is_dir():
        reject(instance, name, str(value), f"in a directory, and {parent} is a file")


def earlier(path: Path, run: Run, *, append: bool) -> str:
    """The whole lines of the file at `path` that this run goes on with: none unless it is resumed or `append` says so.

    Makes the file's directory. A file that the run does not go on with is moved aside.
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
    """The file's content, line ends as they are."""
    return path.read_bytes().decode(errors=_ERRORS)


def set_aside(path: Path, run: Run) -> None:
    """Rename `log.csv` to `log.1.csv`, or the first number that is free; an empty file is left."""
    if path.stat().st_size == 0:
        return
    number = 1
    while (aside := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    logger.info("%s: the log of an earlier run is now in %s", run.plugin, aside)


def up_to(rows: Iterable[Row], step: int, step_of: Callable[[Row], float | None]) -> list[Row]:
    """`rows` without those at the end that are past `step`.

    Only the last run's rows are dropped: where the step rises, seen from the end, an earlier run's rows begin.
    """
    kept = list(rows)
    following = math.inf
    while kept and (here := step_of(kept[-1])) is not None and step < here <= following:
        following = here
        kept.pop()
    return kept


def replace(path: Path, text: str) -> None:
    """Make `text` the file's content, so that a crash leaves the old or the new content, never a part."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.writing")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode(errors=_ERRORS))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def add(path: Path, text: str, *, create: bool = True) -> bool:
    """Add `text` at the end of the file, and return True; False where there is no file and `create` is False.

    The file is not held open: an exception anywhere leaves nothing unwritten. Raises `OSError`.
    """
    # Not `Path.open`, whose buffers cost more than the system's calls.
    try:
        file = os.open(path, _APPEND | os.O_CREAT if create else _APPEND, 0o666)
    except FileNotFoundError:
        if create:
            raise
        return False
    try:
        data = text.encode(errors=_ERRORS)
        while data:
            data = data[os.write(file, data) :]
    finally:
        os.close(file)
    return True


def learning_rate(run: Run) -> float | None:
    """The learning rate in use, or None where the trainee has none."""
    # It may be there and yet be no plugin's to set.
    try:
        return run.learning_rate
    except AttributeError:
        return None
