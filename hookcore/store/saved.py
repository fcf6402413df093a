"""What is known of a checkpoint on disk: its place, its step, what ranks it, and the record in it."""

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
RECORD: Final = "run.json"
MOST_RECORD: Final = 2**30
NAME: Final = re.compile(r"step-\d{8,}", re.ASCII)
"""What a checkpoint's directory is called."""
# LookupError and its like: what is there has another shape than a checkpoint.
_UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _number(instance: object, attribute: object, value: Any) -> None:
    del attribute
    if isinstance(value, bool) or not (isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.maxsize)):
        reject(instance, "value", value, "a number")


@attrs.frozen
class SavedCheckpoint:
    """A checkpoint on disk."""

    path: Path
    epoch: int = attrs.field(validator=[integer(at_least=0), attrs.validators.le(sys.maxsize)])
    step: int = attrs.field(validator=[integer(at_least=0), attrs.validators.le(sys.maxsize)])
    metric: str | None = attrs.field(default=None, validator=text(optional=True))
    """The metric that ranks it, or None."""
    value: float | None = attrs.field(default=None, validator=attrs.validators.optional(_number))
    """That metric's value, or None where there was none to observe."""
    mode: Mode | None = attrs.field(default=None, validator=attrs.validators.in_(("min", "max", None)))
    """The direction in which the metric gets better."""
    retention: Retention | None = None
    """What was to be kept in the directory when it was written, or None where it did not say."""

    def record_text(self) -> str:
        """The text of `run.json`; `CheckpointError` for what is no plain file or more than a gibibyte."""
        with refusing(self.path):
            return files.read(self.path / RECORD, MOST_RECORD).decode()

    def record(self) -> dict[str, Any]:
        """What `run.json` holds: progress, history and plugin state. `CheckpointError` where that is no state."""
        with refusing(self.path, f"has a {RECORD} that cannot be read"):
            record = state.loads(self.record_text())
        if not isinstance(record, dict):
            refuse(self.path, f"has a {RECORD} that holds no record of a run")
        return record


def name_of(step: int) -> str:
    """What the directory of the checkpoint of `step` is called."""
    return f"step-{step:08d}"


@contextlib.contextmanager
def refusing(path: Path, what: str = "cannot be read") -> Iterator[None]:
    """Turn whatever goes wrong in reading into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        refuse(path, f"{what}: {error}", error)


def refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the `CheckpointError` that says `problem` of the checkpoint at `path`."""
    # The problem may quote what an attacker wrote.
    raise CheckpointError(f"The checkpoint {path} {printable(problem)}.") from cause
