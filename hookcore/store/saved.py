"""A checkpoint on disk as a value: its path, its step, its metric, and its record."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from hookcore import state
from hookcore.errors import CheckpointError
from hookcore.store import files
from hookcore.text import printable
from hookcore.validators import integer, reject, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hookcore.store.retention import Retention
    from hookcore.trainee import Mode

MANIFEST: Final = "manifest.json"
"""The file of a checkpoint that lists the size and SHA-256 of every other one."""
RECORD: Final = "run.json"
"""The file of a checkpoint that holds the record of the run."""
MAX_RECORD_BYTES: Final = 2**30
NAME: Final = re.compile(r"step-(\d{8,})(?:\+([1-9]\d*))?", re.ASCII)
"""The name of a checkpoint's directory."""
# LookupError and the like are raised for JSON that does not have the structure of a checkpoint's.
_UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _number(instance: object, attribute: object, value: Any) -> None:
    del attribute
    if isinstance(value, bool) or not (isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.maxsize)):
        reject(instance, "value", value, "a number")


@attrs.frozen
class SavedCheckpoint:
    """A checkpoint on disk, as its manifest describes it. `epoch` counts from zero; `step` counts optimizer updates."""

    path: Path
    epoch: int = attrs.field(validator=[integer(at_least=0), attrs.validators.le(sys.maxsize)])
    step: int = attrs.field(validator=[integer(at_least=0), attrs.validators.le(sys.maxsize)])
    metric: str | None = attrs.field(default=None, validator=text(optional=True))
    """The metric that ranks it, or None."""
    value: float | None = attrs.field(default=None, validator=attrs.validators.optional(_number))
    """The metric's value, or None if it had no value."""
    mode: Mode | None = attrs.field(default=None, validator=attrs.validators.in_(("min", "max", None)))
    """The direction in which the metric gets better, or None."""
    retention: Retention | None = None
    """The retention of its directory when it was written, or None."""
    accumulated: int = attrs.field(default=0, validator=[integer(at_least=0), attrs.validators.le(sys.maxsize)])
    """The number of batches since the latest update, whose gradients wait for the next one."""

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the run: a later checkpoint has a greater one, and no two are equal."""
        return self.step, self.accumulated

    def record_text(self) -> str:
        """Return the text of `run.json`. Raises `CheckpointError` if it is not a plain file or larger than 1 GiB."""
        with checkpoint_errors(self.path):
            return files.read(self.path / RECORD, MAX_RECORD_BYTES).decode()

    def record(self) -> dict[str, Any]:
        """Return the content of `run.json`: progress, history and plugin state. Raises `CheckpointError` if it cannot be read."""
        with checkpoint_errors(self.path, f"has a {RECORD} that cannot be read"):
            record = state.loads(self.record_text())
        if not isinstance(record, dict):
            refuse(self.path, f"has a {RECORD} that is not the record of a run")
        return record


def name_of(step: int, accumulated: int = 0) -> str:
    """Return the name of the checkpoint of `step`: `step-00001234`, or `step-00001234+2` if two batches wait for an update."""
    return f"step-{step:08d}" + (f"+{accumulated}" if accumulated else "")


@contextlib.contextmanager
def checkpoint_errors(path: Path, what: str = "cannot be read") -> Iterator[None]:
    """Turn any error in reading the checkpoint at `path` into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        refuse(path, f"{what}: {error}", error)


def refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    """Raise a `CheckpointError` whose sentence begins with the checkpoint at `path` and ends with `problem`."""
    # The problem may quote an attacker's text, which could control the terminal.
    raise CheckpointError(f"The checkpoint {path} {printable(problem)}.") from cause
