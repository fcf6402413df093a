"""Write a file and compute its SHA-256 at the same time, from memory.

The hash takes about as long as everything else, so computing it after the file was written would double the time.
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
    from typing import Self


@attrs.frozen
class Hashed:
    """The SHA-256 of a file, in hexadecimal, with what tells whether the file has changed since."""

    sha256: str
    _file: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, sha256: str) -> Self:
        """Return the hash `sha256` of the content that was written into the file at `path`, which is closed. Raises `OSError`."""
        status = path.stat()
        return cls(sha256, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))

    def is_of(self, path: Path) -> bool:
        """Return whether the file at `path` is the one that was hashed: it has the same inode, size and times."""
        return self == self.of(path, self.sha256)


def hashes_in(returned: object) -> dict[str, Hashed]:
    """Return the hashes in what a trainee's `write` returned, by file; an empty dict if it is not a mapping of hashes."""
    if not isinstance(returned, Mapping):
        return {}
    return {name: hashed for name, hashed in returned.items() if isinstance(name, str) and isinstance(hashed, Hashed)}


def write_hashed(directory: Path, files: Mapping[str, Sequence[memoryview]]) -> dict[str, Hashed]:
    """Write the new `files` into `directory`, sync them, and return their hashes by name.

    A file is given as its parts, which are written one after the other and must not change meanwhile. May run on any thread; each
    file is hashed on another thread. Raises `OSError`.
    """
    # As bytes, because what the system has written is counted in bytes. A view without elements cannot be cast.
    contents = {name: [part.cast("B") for part in parts if part.nbytes] for name, parts in files.items()}
    hashing = [_Hashing(parts) for parts in contents.values()]
    try:
        for name, parts in contents.items():
            disk.write_parts(directory / name, parts)
            disk.sync(directory / name)  # while the hashes are computed, so that a later sync has less to do
    finally:
        for one in hashing:
            one.wait()
    return {name: Hashed.of(directory / name, one.digest()) for name, one in zip(contents, hashing, strict=True)}


class _Hashing:
    """A hash that is computed on another thread."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._hash = hashlib.sha256()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._update, args=(parts,), name="hashing")
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending
            self._update(parts)

    def _update(self, parts: Sequence[memoryview]) -> None:
        try:
            for part in parts:
                self._hash.update(part)
        except BaseException as error:  # noqa: BLE001 - `digest` raises it: the hash is not that of the file
            self._error = error

    def wait(self) -> None:
        """Wait until the hash is computed."""
        if self._thread.ident is not None:
            self._thread.join()

    def digest(self) -> str:
        """Return the hash in hexadecimal. Raises the error that computing it raised."""
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()
