"""Durable checkpoint directories: write, verify, list, rank, remove.

A checkpoint is one directory, `step-00001234`, with the trainee's files, `run.json` and `manifest.json`, which lists the size
and SHA-256 of every other file. It is written into a temporary sibling, synced, and renamed, so that under its own name it is
whole or not there. Reading uses JSON only, never pickle, and touches no file outside the directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import state
from hookcore.errors import CheckpointError
from hookcore.validators import integer, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hookcore.trainee import Mode

logger = logging.getLogger("hookcore")

MANIFEST: Final = "manifest.json"
RECORD: Final = "run.json"
FORMAT: Final = 1
_NAME: Final = re.compile(r"step-\d{8,}")
_TEMPORARY: Final = ".writing-"
_ASIDE: Final = "earlier"
_UNREADABLE: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@attrs.frozen
class SavedCheckpoint:
    """A checkpoint on disk."""

    path: Path
    epoch: int = attrs.field(validator=integer(at_least=0))
    step: int = attrs.field(validator=integer(at_least=0))
    metric: str | None = attrs.field(default=None, validator=text(optional=True))
    """The metric that ranks it, or None."""
    value: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of((int, float)))
    )
    """That metric's value, or None where there was none to observe."""
    mode: Mode | None = attrs.field(default=None, validator=attrs.validators.in_(("min", "max", None)))
    """The direction in which the metric gets better."""

    def record(self) -> dict[str, Any]:
        """What `run.json` holds: progress, history and plugin state."""
        record: dict[str, Any] = state.loads((self.path / RECORD).read_text())
        return record


def write(
    root: Path,
    *,
    epoch: int,
    step: int,
    metric: str | None,
    value: float | None,
    run: Mapping[str, Any],
    files: Callable[[Path], None],
    mode: Mode | None = None,
) -> SavedCheckpoint:
    """Write the checkpoint of `step` under `root`; it is durable when this returns.

    `files` writes the trainee's files into the directory it is given. An earlier checkpoint of the same step is replaced.
    Raises `CheckpointError`, with every other checkpoint untouched and nothing half-written under a checkpoint's name.
    """
    final = root / f"step-{step:08d}"
    temporary = root / f"{_TEMPORARY}{final.name}"
    checkpoint: dict[str, Any] = {"epoch": epoch, "step": step, "metric": metric, "value": value, "mode": mode}
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        files(temporary)
        if not _files(temporary):
            _refuse(final, "was not written: the trainee wrote no file")
        (temporary / RECORD).write_text(state.dumps(run))
        listed = {path.relative_to(temporary).as_posix(): _fingerprint(path) for path in sorted(_files(temporary))}
        manifest = _sealed({"format": FORMAT, "checkpoint": checkpoint, "files": listed})
        (temporary / MANIFEST).write_bytes(manifest.encode())
        for path in [*_files(temporary), *_directories(temporary)]:
            _sync(path)
        if final.exists():
            replaced = root / f"{_TEMPORARY}replaced-{final.name}"
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
            try:
                temporary.rename(final)
            except OSError:
                replaced.rename(final)
                raise
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            temporary.rename(final)
        _sync(root)
    except CheckpointError:
        raise
    except OSError as error:
        msg = f"The checkpoint {final} could not be written: {error.strerror or error}. Earlier checkpoints are untouched."
        raise CheckpointError(msg) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return SavedCheckpoint(final, **checkpoint)


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Replace the file `path` by what `write` writes to the path that it is given, which has the same name in another place.

    The file is the old one or the new one at every moment. A symbolic link stays, and what it points to is replaced. Makes the
    file's directory. Raises what `write` raises, and `OSError`.
    """
    path = path.resolve()
    aside = path.parent / f"{_TEMPORARY}{path.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        aside.mkdir(exist_ok=True)
        write(aside / path.name)
        _sync(aside / path.name)
        (aside / path.name).replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def open_directory(root: Path) -> None:
    """Make `root` where it is not there, and make sure that it can be written to; `CheckpointError` where not.

    What a crash left half-written or half-removed in it goes.
    """
    probe = root / f"{_TEMPORARY}probe"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sync(root.parent)
        for left in root.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError as error:
        msg = f"The checkpoint directory {root} cannot be written to: {error.strerror or error}."
        raise CheckpointError(msg) from error


def verify(path: Path) -> SavedCheckpoint:
    """The checkpoint in `path`, every file of it read and compared with the manifest; `CheckpointError` where it differs."""
    try:
        if path.is_symlink() or not path.is_dir():
            _refuse(path, "is not a directory")
        manifest = _manifest(path)
        present = {file.relative_to(path).as_posix(): file for file in _files(path) if file != path / MANIFEST}
        if present.keys() != manifest["files"].keys():
            odd = sorted(present.keys() ^ manifest["files"].keys())
            _refuse(path, f"does not hold the files that its manifest lists: {', '.join(odd)}")
        for name, file in present.items():
            if file.is_symlink() or not file.is_file():
                _refuse(path, f"holds {name}, which is a symbolic link or no plain file")
            if file.stat().st_size != manifest["files"][name]["size"] or _fingerprint(file) != manifest["files"][name]:
                _refuse(path, f"is damaged: {name} differs from its manifest")
        return _described(path, manifest)
    except _UNREADABLE as error:
        if isinstance(error, CheckpointError):
            raise
        msg = f"The checkpoint {path} cannot be read: {error}."
        raise CheckpointError(msg) from error


def available(root: Path) -> list[SavedCheckpoint]:
    """The checkpoints under `root` by step, oldest first, those with an unreadable manifest left out. Not verified."""
    found = []
    for path in _named(root):
        with contextlib.suppress(*_UNREADABLE):
            found.append(_described(path, _manifest(path)))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest(root: Path) -> SavedCheckpoint:
    """The newest checkpoint under `root` that verifies; `CheckpointError` where there is none."""
    return _first_whole(root, available(root)[::-1], "checkpoint")


def best(root: Path) -> SavedCheckpoint:
    """The checkpoint under `root` with the best monitored value that verifies; the earliest of equals."""
    return _first_whole(root, ranked(available(root)), "checkpoint with a monitored value")


def ranked(checkpoints: Iterable[SavedCheckpoint]) -> list[SavedCheckpoint]:
    """Those of `checkpoints` that have a value, best first, NaN left out, earlier before later among equals."""
    rankable = [one for one in checkpoints if one.mode is not None and one.value is not None and not math.isnan(one.value)]
    return sorted(rankable, key=lambda one: (-(one.value or 0.0) if one.mode == "max" else one.value or 0.0, one.step))


def prune(root: Path, keep: Iterable[SavedCheckpoint]) -> list[SavedCheckpoint]:
    """Remove every checkpoint under `root` but those in `keep`; returns those removed."""
    kept = {checkpoint.path.name for checkpoint in keep}
    removed = [checkpoint for checkpoint in available(root) if checkpoint.path.name not in kept]
    for checkpoint in removed:
        # Renamed first, so that a crash in the middle leaves no directory that looks whole.
        doomed = root / f"{_TEMPORARY}removed-{checkpoint.path.name}"
        shutil.rmtree(doomed, ignore_errors=True)
        checkpoint.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return removed


def set_aside(root: Path) -> Path | None:
    """Move the checkpoints of an earlier run into a new directory `earlier-001` under `root`; None where there are none."""
    old = _named(root)
    if not old:
        return None
    numbers = [int(found[1]) for path in root.iterdir() if (found := re.fullmatch(rf"{_ASIDE}-(\d+)", path.name))]
    aside = root / f"{_ASIDE}-{max(numbers, default=0) + 1:03d}"
    aside.mkdir()
    for path in old:
        path.rename(aside / path.name)
    return aside


def _named(root: Path) -> list[Path]:
    return sorted(path for path in Path(root).glob("step-*") if _NAME.fullmatch(path.name))


def _first_whole(root: Path, candidates: Iterable[SavedCheckpoint], wanted: str) -> SavedCheckpoint:
    """The first of `candidates` that verifies; every damaged one before it is named in the log, or in the error."""
    listed = {checkpoint.path for checkpoint in available(root)}
    unreadable = [path for path in _named(root) if path not in listed]
    damaged = []
    for path in unreadable:
        damaged.append(f"The checkpoint {path} has no readable manifest.")
        logger.warning("skipped: %s", damaged[-1])
    for checkpoint in candidates:
        try:
            return verify(checkpoint.path)
        except CheckpointError as error:
            logger.warning("skipped: %s", error)
            damaged.append(str(error))
    msg = f"No {wanted} that verifies under {root}." + "".join(f" {problem}" for problem in damaged)
    raise CheckpointError(msg)


def _manifest(path: Path) -> dict[str, Any]:
    text = (path / MANIFEST).read_bytes().decode()
    manifest: dict[str, Any] = state.loads(text)
    if manifest["format"] != FORMAT:
        _refuse(path, f"has format {manifest['format']!r}; this version of hookcore reads format {FORMAT}")
    if text != _sealed({key: manifest[key] for key in ("format", "checkpoint", "files")}):
        _refuse(path, f"is damaged: {MANIFEST} differs from its own digest")
    return manifest


def _sealed(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, with its own digest in it."""
    digest = hashlib.sha256(state.dumps(dict(manifest)).encode()).hexdigest()
    return state.dumps({**manifest, "sha256": digest}, indent=1)


def _described(path: Path, manifest: Mapping[str, Any]) -> SavedCheckpoint:
    return SavedCheckpoint(path, **manifest["checkpoint"])


def _refuse(path: Path, problem: str) -> None:
    msg = f"The checkpoint {path} {problem}."
    raise CheckpointError(msg)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]


def _directories(directory: Path) -> list[Path]:
    return [directory, *(path for path in directory.rglob("*") if path.is_dir())]


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
