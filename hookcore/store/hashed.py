"""Write a file and compute its SHA-256 at the same time, from memory.

A file that is hashed after it was written takes the sum of both; the hash alone takes about as long as the rest.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from hookcore.store import disk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@attrs.frozen
class Hashed:
    """The SHA-256 of a file, in hexadecimal, and which file that is."""

    sha256: str
    _file: tuple[int, int]

    def is_of(self, path: Path) -> bool:
        """Return whether the file at `path` is the one that was hashed: the same inode, of the same size."""
        return self._file == _file_at(path)


def hashes_in(returned: object) -> dict[str, Hashed]:
    """Return the hashes by file that a trainee's `write` has returned: none if that is no mapping of them."""
    if not isinstance(returned, Mapping):
        return {}
    return {name: hashed for name, hashed in returned.items() if isinstance(name, str) and isinstance(hashed, Hashed)}


def write_hashed(path: Path, parts: Sequence[memoryview]) -> Hashed:
    """Write the bytes of `parts`, one after the other, into the new file `path`, and sync it. May run on any thread.

    The parts must not change meanwhile. Raises `OSError`.
    """
    digest = hashlib.sha256()

    def update() -> None:
        for part in parts:
            digest.update(part)

    hashing = threading.Thread(target=update, name="hashing")
    try:
        hashing.start()
    except RuntimeError:  # the interpreter is ending
        update()
    try:
        disk.write_parts(path, parts)
        disk.sync(path)  # while the hash is computed: a sync later has less to do
    finally:
        if hashing.ident is not None:
            hashing.join()
    return Hashed(digest.hexdigest(), _file_at(path))


def _file_at(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_size
