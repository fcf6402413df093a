"""One checkpoint on disk: its manifest, and whether its files are those that the manifest lists.

What is read here may be damaged, or made by somebody with bad intentions: it is refused with a `CheckpointError`, and nothing
outside the checkpoint's directory is read, nothing is waited for, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from hookcore import files, state
from hookcore.errors import CheckpointError
from hookcore.retention import Retention
from hookcore.validators import integer, reject, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore.trainee import Mode

MANIFEST: Final = "manifest.json"
RECORD: Final = "run.json"
FORMAT: Final = 1
_MOST_MANIFEST: Final = 16 * 2**20
_MOST_RECORD: Final = 2**30
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
        with _refusing(self.path):
            return files.read(self.path / RECORD, _MOST_RECORD).decode()

    def record(self) -> dict[str, Any]:
        """What `run.json` holds: progress, history and plugin state. `CheckpointError` where that is no state."""
        with _refusing(self.path, f"has a {RECORD} that cannot be read"):
            record = state.loads(self.record_text())
        if not isinstance(record, dict):
            _refuse(self.path, f"has a {RECORD} that holds no record of a run")
        return record


def complete(checkpoint: SavedCheckpoint, directory: Path, record: str) -> None:
    """Add `record` and the manifest of `checkpoint` to the trainee's files in `directory`, and have each file on the disk.

    Raises `CheckpointError` for what would be refused when it is read, and `OSError`.
    """
    try:
        written = files.contents(directory)
        if not written:
            _refuse(checkpoint.path, "was not written: the trainee wrote no file")
        if written.keys() & {RECORD, MANIFEST}:
            _refuse(checkpoint.path, f"was not written: the trainee wrote a {RECORD} or {MANIFEST} of its own")
        written[RECORD] = _write_text(directory / RECORD, record, _MOST_RECORD)
        with files.syncing([directory / name for name in written]):
            listed = {name: _fingerprint(directory / name, size) for name, size in sorted(written.items())}
        described = attrs.asdict(checkpoint, filter=attrs.filters.exclude("path"))
        sealed = _sealed({"format": FORMAT, "checkpoint": described, "files": listed})
        _write_text(directory / MANIFEST, sealed, _MOST_MANIFEST)
        files.sync(directory / MANIFEST)
    except ValueError as error:
        _refuse(checkpoint.path, f"was not written: {error}", error)


def name_of(step: int) -> str:
    """What the directory of the checkpoint of `step` is called."""
    return f"step-{step:08d}"


def describe(path: Path) -> SavedCheckpoint:
    """The checkpoint that the manifest in `path` describes, its files unseen; `CheckpointError` where that cannot be read."""
    with _refusing(path):
        return _described(path, _manifest(path))


def verify(path: Path, *, contents: bool = True) -> SavedCheckpoint:
    """The checkpoint in `path`, every file of it compared with the manifest; `CheckpointError` where it differs.

    Reads every file; without `contents` the manifest alone, and compares names and sizes.
    """
    with _refusing(path):
        manifest = _manifest(path)
        listed = manifest["files"]
        sizes = files.contents(path)
        del sizes[MANIFEST]
        if RECORD not in listed:
            _refuse(path, f"has no {RECORD}")
        if sizes.keys() != listed.keys():
            odd = sorted(sizes.keys() ^ listed.keys())
            _refuse(path, f"does not hold the files that its manifest lists: {', '.join(odd)}")
        for name, size in sizes.items():
            if size != listed[name]["size"]:
                _refuse(path, f"is damaged: {name} differs from its manifest in size")
        for name, size in sizes.items():
            if contents and _fingerprint(path / name, size) != listed[name]:
                _refuse(path, f"is damaged: {name} differs from its manifest")
        return _described(path, manifest)


@contextlib.contextmanager
def _refusing(path: Path, what: str = "cannot be read") -> Iterator[None]:
    """Whatever reading comes upon as a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        _refuse(path, f"{what}: {error}", error)


def _described(path: Path, manifest: Mapping[str, Any]) -> SavedCheckpoint:
    listed = manifest["checkpoint"]
    retention = listed.get("retention")
    described = SavedCheckpoint(path, **{**listed, "retention": None if retention is None else Retention(**retention)})
    if NAME.fullmatch(path.name) and path.name != name_of(described.step):
        _refuse(path, f"says that it is of step {described.step}")
    return described


def _manifest(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_dir():
        _refuse(path, "is not a directory")
    try:
        text = files.read(path / MANIFEST, _MOST_MANIFEST).decode()
    except FileNotFoundError as error:
        _refuse(path, f"has no {MANIFEST}", error)
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


def _refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    # The problem may quote what an attacker wrote.
    msg = f"The checkpoint {path} {files.printable(problem)}."
    raise CheckpointError(msg) from cause


def _write_text(path: Path, text: str, at_most: int) -> int:
    encoded = text.encode()
    if len(encoded) > at_most:
        msg = f"its {path.name} would have {files.readable(len(encoded))}, and no more than {files.readable(at_most)} are read"
        raise ValueError(msg)
    return path.write_bytes(encoded)


def _fingerprint(path: Path, size: int) -> dict[str, Any]:
    return {"size": size, "sha256": files.digest(path)}
