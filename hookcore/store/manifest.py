"""One checkpoint on disk: its manifest, and whether its files are those that the manifest lists.

The files may be damaged or hostile. Then they are refused with a `CheckpointError`; nothing outside the checkpoint's directory is
read, no read waits for another process, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import state
from hookcore.paths import local_path
from hookcore.store import disk, files
from hookcore.store.retention import Retention
from hookcore.store.saved import MANIFEST, MAX_RECORD_BYTES, NAME, RECORD, SavedCheckpoint, checkpoint_errors, name_of, refuse
from hookcore.text import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore.store.hashed import Hashed

FORMAT: Final = 1
_MAX_MANIFEST_BYTES: Final = 16 * 2**20


def seal(checkpoint: SavedCheckpoint, directory: Path, record: str, hashed: Mapping[str, Hashed]) -> None:
    """Add `record` and then the manifest of `checkpoint` to the trainee's files in `directory`, and sync every file.

    The files in `hashed`, by name, are not read again if they are still those that were hashed. Raises `CheckpointError` for
    contents that a reader would refuse, and `OSError`.
    """
    try:
        written = files.contents(directory)
        if not written:
            refuse(checkpoint.path, "was not written: the trainee wrote no file")
        if written.keys() & {RECORD, MANIFEST}:
            refuse(checkpoint.path, f"was not written: the trainee wrote a {RECORD} or {MANIFEST} of its own")
        written[RECORD] = _write_text(directory / RECORD, record, MAX_RECORD_BYTES)
        with files.syncing([directory / name for name in written]):
            listed = {name: _fingerprint(directory / name, size, hashed.get(name)) for name, size in sorted(written.items())}
        described = attrs.asdict(checkpoint, filter=attrs.filters.exclude("path"))
        sealed = _sealed({"format": FORMAT, "checkpoint": described, "files": listed})
        _write_text(directory / MANIFEST, sealed, _MAX_MANIFEST_BYTES)
        disk.sync(directory / MANIFEST)
    except ValueError as error:
        refuse(checkpoint.path, f"was not written: {error}", error)


def read_unverified(path: Path) -> SavedCheckpoint:
    """Return the checkpoint that the manifest in `path` describes, without reading its files.

    Raises `CheckpointError` if the manifest cannot be read.
    """
    with checkpoint_errors(path):
        return _described(path, _read_manifest(path))


def verify(path: Path, *, contents: bool = True) -> SavedCheckpoint:
    """Return the checkpoint in `path`, after comparing every file with the manifest. Raises `CheckpointError` if one differs.

    Reads every file. Without `contents`, it reads only the manifest, and compares only the names and sizes of the files.
    """
    path = local_path(path)
    with checkpoint_errors(path):
        manifest = _read_manifest(path)
        listed = manifest["files"]
        sizes = files.contents(path)
        del sizes[MANIFEST]
        if RECORD not in listed:
            refuse(path, f"has no {RECORD}")
        if sizes.keys() != listed.keys():
            odd = sorted(sizes.keys() ^ listed.keys())
            refuse(path, f"does not hold the files that its manifest lists: {', '.join(odd)}")
        for name, size in sizes.items():
            if size != listed[name]["size"]:
                refuse(path, f"is damaged: {name} differs from its manifest in size")
        for name, size in sizes.items():
            if contents and _fingerprint(path / name, size) != listed[name]:
                refuse(path, f"is damaged: {name} differs from its manifest")
        return _described(path, manifest)


def _described(path: Path, manifest: Mapping[str, Any]) -> SavedCheckpoint:
    listed = manifest["checkpoint"]
    retention = listed.get("retention")
    described = SavedCheckpoint(path, **{**listed, "retention": None if retention is None else Retention(**retention)})
    if NAME.fullmatch(path.name) and path.name != name_of(*described.place):
        refuse(path, f"has a manifest of step {described.step}, and the name of another step")
    return described


def _read_manifest(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_dir():
        refuse(path, "is not a directory")
    try:
        text = files.read(path / MANIFEST, _MAX_MANIFEST_BYTES).decode()
    except FileNotFoundError as error:
        refuse(path, f"has no {MANIFEST}", error)
    manifest: dict[str, Any] = state.loads(text)
    if manifest["format"] != FORMAT:
        refuse(path, f"has format {manifest['format']!r}; this version of hookcore reads format {FORMAT}")
    if text != _sealed({key: manifest[key] for key in ("format", "checkpoint", "files")}):
        refuse(path, f"is damaged: {MANIFEST} differs from its own digest")
    return manifest


def _sealed(manifest: Mapping[str, Any]) -> str:
    """Return the text of `manifest` with its own digest added."""
    digest = hashlib.sha256(state.dumps(dict(manifest)).encode()).hexdigest()
    return state.dumps({**manifest, "sha256": digest}, indent=1)


def _write_text(path: Path, text: str, at_most: int) -> int:
    encoded = text.encode()
    if len(encoded) > at_most:
        raise ValueError(f"its {path.name} would have {format_size(len(encoded))}, and at most {format_size(at_most)} are read")
    disk.write(path, encoded)
    return len(encoded)


def _fingerprint(path: Path, size: int, hashed: Hashed | None = None) -> dict[str, Any]:
    return {"size": size, "sha256": hashed.sha256 if hashed is not None and hashed.is_of(path) else files.digest(path)}
