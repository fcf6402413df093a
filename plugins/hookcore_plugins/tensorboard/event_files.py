"""The event files that are there already: what an earlier run left, and what of it a resumed run goes on with."""

from __future__ import annotations

import os
import re
import struct
import uuid
from typing import TYPE_CHECKING, Final

# What TensorBoard itself checks records with; it imports nothing else.
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from hookcore import store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_STEM: Final = "events.out.tfevents."
# A record: its length, a checksum of the length, the event, a checksum of the event.
_HEADER: Final = struct.Struct("<QI")
_LENGTH: Final = struct.Struct("<Q")
_FOOTER: Final = 4


def named(directory: Path) -> list[Path]:
    """The event files in `directory`, in the order in which TensorBoard reads them."""
    return sorted(directory.glob(f"{_STEM}*"))


def name_of_next(directory: Path, wall_time: float, host: str) -> str:
    """A name that no other file has, and by which TensorBoard reads it after those that are there, whatever the clock says."""
    latest = [int(found[1]) for path in named(directory) if (found := re.match(rf"{re.escape(_STEM)}(\d+)", path.name))]
    seconds = max(int(wall_time), max(latest, default=0) + 1)
    return f"{_STEM}{seconds:010d}.{re.sub(r'[^A-Za-z0-9-]', '_', host)}.{uuid.uuid4().hex}"


def set_aside(root: Path, runs: Sequence[str], names: Sequence[str]) -> Path | None:
    """Move what an earlier run left into a new directory `earlier-001` under `root`, or the next number; None for nothing.

    Of each of `runs` that has event files these go, and whatever is called one of `names`.
    """
    old = [
        (run, path) for run in runs if named(root / run) for path in [*named(root / run), *(root / run / one for one in names)]
    ]
    if not old:
        return None
    return store.move_aside(root, {path: f"{run}/{path.name}" for run, path in old if path.exists()})


def cut(directory: Path, count: int) -> int:
    """Keep the first `count` events in the event files in `directory` and remove the others; returns how many there are now.

    What a crash left torn at the end of a file goes too. Nothing is ever added to a file that is there, so each is cut in place:
    a crash leaves it as it was or cut.
    """
    left = 0
    for path in named(directory):
        ends = list(_record_ends(path.read_bytes()))
        kept = min(len(ends) - 1, count - left)  # the first record says what the file is, and is no event
        if kept < 1:
            path.unlink()
            continue
        os.truncate(path, ends[kept])
        left += kept
    return left


def _record_ends(content: bytes) -> Iterator[int]:
    """Where each whole record ends, until the first that is none."""
    at = 0
    while at + _HEADER.size <= len(content):
        length, checksum = _HEADER.unpack_from(content, at)
        at += _HEADER.size + length + _FOOTER
        if at > len(content) or masked_crc32c(_LENGTH.pack(length)) != checksum:
            return
        yield at
