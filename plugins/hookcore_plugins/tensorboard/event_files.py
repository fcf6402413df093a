"""Find, name, cut and move aside event files: those of an earlier run, and those that a resumed run continues."""

from __future__ import annotations

import itertools
import re
import sys
import uuid
from typing import TYPE_CHECKING, Final

from hookcore import store
from hookcore.store import disk
from hookcore_plugins.tensorboard import records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STEM: Final = "events.out.tfevents."
_SESSION_START: Final = b"_hparams_/session_start_info"
"""The tag of TensorBoard's event with the hyperparameters of a run."""
_FIRST_EVENTS: Final = 16
"""The number of events at the beginning of a run's first file among which that one is."""


def named(directory: Path, ending: str = "") -> list[Path]:
    """List the event files in `directory` whose names have that ending, in the order in which TensorBoard reads them."""
    return sorted(directory.glob(f"{_STEM}*{ending}"))


def name_of_next(directory: Path, wall_time: float, host: str, ending: str = "") -> str:
    """Return a name that no file has, and that TensorBoard reads after those in `directory`, even if the clock went back."""
    latest = [int(found[1]) for path in named(directory) if (found := re.match(rf"{re.escape(_STEM)}(\d+)", path.name))]
    seconds = max(int(wall_time), max(latest, default=0) + 1)
    return f"{_STEM}{seconds:010d}.{re.sub(r'[^A-Za-z0-9-]', '_', host)}.{ending or uuid.uuid4().hex}"


def set_aside(root: Path, runs: Sequence[str], names: Sequence[str]) -> Path | None:
    """Move the files of an earlier run into a new directory `earlier-001` under `root`, or the next number, and return it.

    From each directory in `runs` that has event files, move these and whatever has one of `names`. None if there are no files.
    What is moved is no longer a row in TensorBoard's table of hyperparameters.
    """
    old = {
        path: f"{run}/{path.name}"
        for run in runs
        if (events := named(root / run))
        for path in [*events, *(root / run / name for name in names)]
        if path.exists()
    }
    if not old:
        return None
    aside = store.move_aside(root, old)
    for run in runs:
        for path in named(aside / run)[:1]:
            _leave_table(path)
    return aside


def _leave_table(path: Path) -> None:
    """Remove the start of a session from a run's first event file: the table of hyperparameters has no row for it then."""
    content = store.read_file(path, sys.maxsize)
    start = 0
    for end in itertools.islice(records.ends(content), _FIRST_EVENTS):
        if _SESSION_START in content[start:end]:
            store.write_bytes(path, content[:start] + content[end:])
            return
        start = end


def cut(directory: Path, count: int, ending: str = "") -> int:
    """Keep the first `count` events in the event files in `directory`, remove the others, and return how many remain.

    With `ending`, only files whose names end with it are read and cut; those of other runs stay unchanged.

    A record that a crash has cut short is removed, with everything after it. Files are cut in place: a crash leaves a file uncut
    or cut, and no run adds to a file that exists.
    """
    left = 0
    for path in named(directory, ending):
        ends = list(records.ends(store.read_file(path, sys.maxsize)))
        kept = min(len(ends) - 1, count - left)  # the first record describes the file, and is not an event
        if kept < 1:
            disk.unlink(path)
            continue
        disk.truncate(path, ends[kept])
        disk.sync(path)
        left += kept
    return left
