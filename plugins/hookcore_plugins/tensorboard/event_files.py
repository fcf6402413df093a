"""Find, name, cut and move aside event files: those of an earlier run, and those that a resumed run continues."""

from __future__ import annotations

import os
import re
import sys
import uuid
from typing import TYPE_CHECKING, Final

from hookcore import store
from hookcore_plugins.tensorboard import records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STEM: Final = "events.out.tfevents."


def named(directory: Path) -> list[Path]:
    """List the event files in `directory`, in the order in which TensorBoard reads them."""
    return sorted(directory.glob(f"{_STEM}*"))


def name_of_next(directory: Path, wall_time: float, host: str) -> str:
    """Return a name that no file has, and that TensorBoard reads after those in `directory`, even if the clock went back."""
    latest = [int(found[1]) for path in named(directory) if (found := re.match(rf"{re.escape(_STEM)}(\d+)", path.name))]
    seconds = max(int(wall_time), max(latest, default=0) + 1)
    return f"{_STEM}{seconds:010d}.{re.sub(r'[^A-Za-z0-9-]', '_', host)}.{uuid.uuid4().hex}"


def set_aside(root: Path, runs: Sequence[str], names: Sequence[str]) -> Path | None:
    """Move the files of an earlier run into a new directory `earlier-001` under `root`, or the next number, and return it.

    From each directory in `runs` that has event files, move these and whatever has one of `names`. None if there are no files.
    """
    old = {
        path: f"{run}/{path.name}"
        for run in runs
        if (events := named(root / run))
        for path in [*events, *(root / run / name for name in names)]
        if path.exists()
    }
    return store.move_aside(root, old) if old else None


def cut(directory: Path, count: int) -> int:
    """Keep the first `count` events in the event files in `directory`, remove the others, and return how many remain.

    A record that a crash left torn at the end of a file is removed too. Each file is cut in place: a crash leaves it as it was or
    cut, and a new run adds to no file that exists.
    """
    left = 0
    for path in named(directory):
        ends = list(records.ends(store.read_file(path, sys.maxsize)))
        kept = min(len(ends) - 1, count - left)  # the first record describes the file, and is not an event
        if kept < 1:
            path.unlink()
            continue
        os.truncate(path, ends[kept])
        left += kept
    return left
