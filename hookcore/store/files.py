"""Replace files atomically, move them aside, and read untrusted ones."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import threading
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hookcore.paths import LONGEST_NAME
from hookcore.store import disk
from hookcore.text import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import BufferedReader

TEMPORARY: Final = ".writing-"
"""The beginning of the name of everything that is half-written."""


@contextlib.contextmanager
def syncing(paths: Iterable[Path]) -> Iterator[None]:
    """Sync the files `paths` on another thread while the block runs. At the end of the block, all are on the disk."""
    errors: list[OSError] = []

    def work() -> None:
        try:
            for path in paths:
                disk.sync(path)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="syncing")
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending
        work()
    try:
        yield
    finally:
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]


def make_directory(path: Path) -> None:
    """Make the directory `path`, with its parents, durably, if it does not exist."""
    missing = [above for above in (path, *path.parents) if not above.exists()][::-1]
    with contextlib.suppress(PermissionError):  # an unreadable parent belongs to another user
        # A process that made the directory that exists may have been killed before this step.
        disk.sync((missing[0].parent if missing else path).parent)
    for directory in missing:
        disk.mkdir(directory, exist_ok=True)
        disk.sync(directory.parent)
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def remove(path: Path) -> None:
    """Remove the file or directory at `path`, if it exists. A link is removed, and its target is not."""
    if path.is_dir() and not path.is_symlink():
        disk.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(path)


def try_to_remove(path: Path) -> None:
    """Remove the file or directory at `path`, if possible."""
    with contextlib.suppress(OSError, RecursionError):  # the latter for directories that are nested too deeply
        remove(path)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replace the file `path` by the file that `write` writes. `write` gets a path with the same name in a temporary directory.

    At every moment the file is the whole old one or the whole new one. If `path` is a symbolic link, its target is replaced. The
    file's directory is made if it does not exist. A pipe, a terminal or another device is not replaced: the content is sent to
    it.

    Raises what `write` raises, and `OSError`, also for a pipe that no process reads, and for a block device.
    """
    if _is_special(path):
        with disk.scratch(TEMPORARY) as directory:
            aside = Path(directory, path.name)
            write(aside)
            disk.send(path, aside.read_bytes())
        return
    path = path.resolve()
    aside = path.parent / _temporary_name(path.name)
    if not path.parent.is_dir():
        make_directory(path.parent)
    try:
        disk.mkdir(aside, exist_ok=True)
        write(aside / path.name)
        disk.sync(aside / path.name)
        disk.replace(aside / path.name, path)
        disk.sync(path.parent)
    finally:
        try_to_remove(aside)


def _temporary_name(name: str) -> str:
    """Return the name of the temporary directory for the file `name`: a hash of it if the name is too long."""
    if len(os.fsencode(TEMPORARY + name)) <= LONGEST_NAME:
        return TEMPORARY + name
    return TEMPORARY + hashlib.sha256(os.fsencode(name)).hexdigest()


def _is_special(path: Path) -> bool:
    """Return whether `path`, or the target of the link there, exists and is not a file that can be replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        return True
    # `/dev/stdout` leads to a file that may have no name, or whose name another file may have taken.
    resolved = path.resolve()
    return not (resolved.exists() and os.path.samestat(resolved.stat(), status))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file `path` by one that holds `content`, as `write_file` does."""
    write_file(path, lambda aside: disk.write(aside, content))


def move_aside(root: Path, moves: Mapping[Path, str]) -> Path:
    """Move files of an earlier run into a new directory `earlier-001` under `root`, or the next number; return the directory.

    `moves` maps each path to its new name, relative to that directory. Raises `OSError`.
    """
    numbers = [int(found[1]) for path in root.iterdir() if (found := re.fullmatch(r"earlier-(\d+)", path.name, re.ASCII))]
    aside = root / f"earlier-{max(numbers, default=0) + 1:03d}"
    disk.mkdir(aside)
    targets = dict.fromkeys((aside / name).parent for name in moves.values())
    for directory in targets:
        make_directory(directory)  # durably, because what is moved into a directory that is lost is lost too
    for path, name in moves.items():
        disk.rename(path, aside / name)
    for directory in dict.fromkeys([*targets, aside, *(path.parent for path in moves), root]):
        disk.sync(directory)
    return aside


def move_file_aside(path: Path) -> Path:
    """Rename `log.csv` to `log.1.csv`, or to the first number that is free; return the new path. Raises `OSError`."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    disk.rename(path, aside)
    disk.sync(path.parent)  # otherwise a new file of the old name may replace it after a loss of power
    return aside


def contents(directory: Path) -> dict[str, int]:
    """Return the size in bytes of each file below `directory`, by its relative path, with `/` as separator.

    Raises `ValueError` for a link or anything else that is not a plain file, and for two names that are the same on some file
    systems; `OSError` for a directory that cannot be listed.
    """
    sizes = {}
    folded: dict[str, str] = {}
    for name, status in _walk(directory):
        # Normalised twice: some letters decompose further once their case is folded.
        same = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
        other = folded.setdefault(same, name)
        if other != name:
            raise ValueError(f"it holds {other} and {name}, which are one name on some file systems")
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"it holds {name}, which is a link or not a plain file")
        sizes[name] = status.st_size
    return sizes


def size(path: Path) -> int:
    """Return the number of bytes in all plain files below `path`; 0 if it cannot be listed."""
    if path.is_symlink():
        return 0
    with contextlib.suppress(OSError, RecursionError):  # the latter for directories that are nested too deeply
        return sum(status.st_size for _, status in _walk(path) if stat.S_ISREG(status.st_mode))
    return 0


def directories(path: Path) -> list[Path]:
    """Return `path` and every directory below it."""
    return [path, *(path / name for name, status in _walk(path) if stat.S_ISDIR(status.st_mode))]


def _walk(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the relative path and the status of everything below `directory`. Links are not followed."""

    def fail(error: OSError) -> None:
        raise error

    for parent, below, files in os.walk(directory, onerror=fail):
        for name in sorted([*below, *files]):
            path = Path(parent, name)
            yield path.relative_to(directory).as_posix(), path.lstat()


def read_file(path: Path, at_most: int = 2**30) -> bytes:
    """Return the content of the plain file `path`, or of the target of the link there.

    Raises `OSError` if it is not a plain file, without waiting for a pipe or reading a device, and if it has more than `at_most`
    bytes.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a device can have effects
        raise OSError(errno.EINVAL, "It is not a plain file", str(path))
    with disk.open_for_reading(path, follows_links=True) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "It is not a plain file", str(path))
        if status.st_size > at_most:
            problem = f"It has {format_size(status.st_size)}, and at most {format_size(at_most)} are read"
            raise OSError(errno.EFBIG, problem, str(path))
        return file.read(status.st_size)


def digest(path: Path) -> str:
    """Return the SHA-256 of the plain file `path`, in hexadecimal. Raises `ValueError` if it is not a plain file."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, at_most: int) -> bytes:
    """Return the content of the plain file `path`. Raises `ValueError`, before reading, if it has more than `at_most` bytes."""
    with _open(path) as file:
        nbytes = os.fstat(file.fileno()).st_size
        if nbytes > at_most:
            raise ValueError(f"its {path.name} has {format_size(nbytes)}, and at most {format_size(at_most)} are read")
        return file.read(nbytes)


def _open(path: Path) -> BufferedReader:
    # Checked first, because opening a device can have effects. The flags of `open_for_reading` cover a file that is replaced
    # then.
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"it holds {path.name}, which is a link or not a plain file")
    return disk.open_for_reading(path, follows_links=False)
