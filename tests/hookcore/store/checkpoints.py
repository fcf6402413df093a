"""Checkpoints for the tests: whole ones, and ones that an attacker has forged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from hookcore import SavedCheckpoint, state, store
from hookcore.store import manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore.store.retention import Retention

RUN = {"progress": {"epoch": 1, "batch": 2, "step": 3}, "history": {"loss": [math.nan, 0.5]}, "plugins": {}}
RECORD = state.dumps(RUN)


def weights(directory: Path) -> None:
    """Write a trainee's files: one beside the manifest, one in a directory, one empty, and one with the manifest's name."""
    (directory / "weights.bin").write_bytes(bytes(range(64)))
    (directory / "assets").mkdir()
    (directory / "assets" / "vocabulary.txt").write_text("a b c")
    (directory / "assets" / "empty").touch()
    (directory / "assets" / "manifest.json").write_text("{}")


def small(directory: Path) -> None:
    """Write one file of ten bytes."""
    (directory / "weights.bin").write_bytes(b"0123456789")


def save(
    root: Path,
    step: int = 1,
    value: float | None = 0.5,
    files: Callable[[Path], object] = weights,
    mode: Literal["min", "max"] = "min",
    *,
    epoch: int | None = None,
    metric: str = "val_loss",
    record: str = RECORD,
    retention: Retention | None = None,
    space: int = 0,
    accumulated: int = 0,
) -> SavedCheckpoint:
    return store.write(
        root,
        epoch=step if epoch is None else epoch,
        step=step,
        metric=metric,
        value=value,
        mode=mode,
        record=record,
        files=files,
        retention=retention,
        space=space,
        accumulated=accumulated,
    )


def forge(directory: Path, **changes: Any) -> None:
    """Write a manifest that fits the files in `directory`, with `changes` to its description and a right digest."""
    listed = {
        file.relative_to(directory).as_posix(): manifest._fingerprint(file, file.stat().st_size)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and not file.is_symlink() and file != directory / store.MANIFEST
    }
    described = {"epoch": 1, "step": int(directory.name.removeprefix("step-")), "metric": None, "value": None, "mode": None}
    write_manifest(directory, checkpoint=described | changes, files=listed)


def write_manifest(path: Path, **contents: Any) -> None:
    """Write a manifest of `contents` into `path`, with a right digest, which an attacker can compute too."""
    (path / store.MANIFEST).write_text(manifest._sealed({"format": manifest.FORMAT, **contents}))


def read_manifest(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = state.loads((path / store.MANIFEST).read_text())
    return {"checkpoint": read["checkpoint"], "files": read["files"]}


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())
