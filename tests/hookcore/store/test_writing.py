"""Writing one checkpoint: it is whole or absent, whatever fails."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from hookcore import CheckpointError, DiskFullError, SavedCheckpoint, store
from tests.hookcore.store.checkpoints import RECORD, RUN, names, save

if TYPE_CHECKING:
    from collections.abc import Callable

# Writing.


def test_a_written_checkpoint_verifies_and_reads_back(tmp_path: Path) -> None:
    """A written checkpoint has its description, the run's record and the trainee's files, and nothing else."""
    saved = save(tmp_path / "deep" / "runs")
    assert (
        store.verify(saved.path)
        == saved
        == SavedCheckpoint(tmp_path / "deep" / "runs" / "step-00000001", 1, 1, "val_loss", 0.5, "min")
    )
    assert repr(saved.record()) == repr(RUN)
    assert saved.record_text() == RECORD
    assert (saved.path / "assets" / "vocabulary.txt").read_text() == "a b c"
    assert names(tmp_path / "deep" / "runs") == ["step-00000001"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.1, 3])
def test_any_value_round_trips(tmp_path: Path, value: float | None) -> None:
    """The monitored value is read back exactly, whatever number it is, or None."""
    saved = save(tmp_path, value=value)
    assert repr(store.verify(saved.path)) == repr(saved)


def test_the_manifest_is_standard_json(tmp_path: Path) -> None:
    """Other tools can read the manifest: it is standard JSON with the size and SHA-256 of every file."""
    saved = save(tmp_path, value=math.nan)
    manifest = json.loads((saved.path / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert sorted(manifest["files"]) == [
        "assets/empty",
        "assets/manifest.json",
        "assets/vocabulary.txt",
        "run.json",
        "weights.bin",
    ]
    assert manifest["files"]["assets/empty"]["size"] == 0


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    """A second checkpoint of a step replaces the first, whatever a crash left beside it."""
    save(tmp_path, value=1.0)
    for leftover in "replaced-step-00000001", "step-00000001":
        (tmp_path / f".writing-{leftover}" / "old").mkdir(parents=True)
    second = save(tmp_path, value=2.0, files=lambda directory: (directory / "other.bin").touch())
    assert store.verify(second.path).value == 2.0
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("not savable"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """Whatever the trainee raises, earlier checkpoints are untouched, and nothing half-written stays."""
    earlier = save(tmp_path, step=1)

    def failing(directory: Path) -> None:
        (directory / "half.bin").write_bytes(b"half")
        raise error

    for step in 1, 2:
        with pytest.raises(CheckpointError if isinstance(error, OSError) else type(error)):
            save(tmp_path, step=step, files=failing)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(earlier.path) == earlier


@pytest.mark.parametrize("wrapped", ["not", "as cause", "as context", "two deep"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, wrapped: str
) -> None:
    """However a library wraps it, the error of a full disk names the checkpoint, its size and the free space."""
    earlier = save(tmp_path)

    def fail() -> None:
        raise OSError(code, os.strerror(code), "model.h5")

    def failing(directory: Path) -> None:
        (directory / "half").write_bytes(b"half")
        try:
            fail()
        except OSError as error:
            if wrapped == "not":
                raise
            if wrapped == "as context":
                raise RuntimeError("flush")  # noqa: B904 - as libraries do
            if wrapped == "as cause":
                raise ValueError("cannot save") from error
            try:
                raise RuntimeError("flush")  # noqa: TRY301
            except RuntimeError as second:
                raise TypeError("cannot save") from second

    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1, free=usage(path).free + 10**10))
    problem = "The disk is full" if code == errno.ENOSPC else "The disk quota is used up"
    needed = r"more than \d+\.\d [GT]B" if code == errno.ENOSPC else r"about 7\.0 GB"
    expected = rf"^{problem}: the checkpoint \S+step-00000002 needs {needed}, and the disk has \d+\.\d [GT]B free\. Earlier"
    with pytest.raises(DiskFullError, match=expected):
        save(tmp_path, step=2, files=failing, space=7 * 10**9)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(earlier.path) == earlier


def test_any_other_error_of_the_disk_is_no_full_disk(tmp_path: Path) -> None:
    """Another error of the disk is not reported as a full disk."""

    def failing(directory: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(directory))

    with pytest.raises(CheckpointError, match=r"step-00000001 could not be written: Input/output error\. Earlier") as raised:
        save(tmp_path, files=failing)
    assert not isinstance(raised.value, DiskFullError)


def large(nbytes: int) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "large").write_bytes(bytes(nbytes))

    return write


@pytest.mark.parametrize(("space", "newest", "enough"), [(100, 0, 100), (0, 100, None), (1000, 100, 1000), (100, 2000, None)])
def test_nothing_is_begun_where_the_disk_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int, newest: int, enough: int | None
) -> None:
    """A save is refused before anything is written if the disk has less free than expected or than the newest one takes."""
    if newest:
        save(tmp_path, step=1, files=large(100_000))
        kept = save(tmp_path, step=9, files=large(newest))
        taken = sum(file.stat().st_size for file in kept.path.iterdir())
        enough = max(space, taken)
    assert enough is not None
    before = names(tmp_path)

    def unreached(directory: Path) -> None:
        pytest.fail(f"{directory} was begun")

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=enough - 1))
    with pytest.raises(
        DiskFullError, match=r"(?m)needs about .*B, and the disk has .*B free\. Earlier checkpoints are untouched\.$"
    ):
        save(tmp_path, step=10, files=unreached, space=space)
    assert names(tmp_path) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=enough))
    save(tmp_path, step=10, space=space)


def test_a_file_system_that_does_not_tell_its_size_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system that reports a size of 0 is not a full disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, free=0))
    assert store.verify(save(tmp_path, space=10).path).step == 1


def test_a_newest_that_is_a_link_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the newest checkpoint does not count the target of a link in its place."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(bytes(1000))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "step-00000001").symlink_to(tmp_path / "large")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1000, free=999))
    save(tmp_path / "runs", step=2)


@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_a_trainee_that_writes_what_is_the_stores_is_refused(tmp_path: Path, name: str) -> None:
    """A trainee's file that has the name of the record or the manifest is an error, and is not overwritten."""
    with pytest.raises(CheckpointError, match=r"was not written: the trainee wrote a run\.json or manifest\.json of its own"):
        save(tmp_path, files=lambda directory: (directory / name).touch())
    assert names(tmp_path) == []


def test_a_trainee_that_writes_a_link_is_refused(tmp_path: Path) -> None:
    """A link, which a reader would refuse, is refused when it is written."""
    with pytest.raises(CheckpointError, match="was not written: it holds latest, which is a link or not a plain file"):
        save(tmp_path, files=lambda directory: (directory / "latest").symlink_to("weights.bin"))
    assert names(tmp_path) == []


def test_the_old_checkpoint_is_back_where_the_last_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new checkpoint of a step cannot get its name, the old one keeps it."""
    earlier = save(tmp_path)
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path.name == ".writing-step-00000001":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(CheckpointError, match="Permission denied"):
        save(tmp_path, value=9.0)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(earlier.path) == earlier


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a descriptor is open on is asked of Linux")
def test_everything_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory is synced before the rename, and the parent after it."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        steps.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), tmp_path))
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", renaming)
    save(tmp_path)
    before, after = steps[: steps.index("rename")], steps[steps.index("rename") :]
    files = [
        "assets",
        "assets/empty",
        "assets/manifest.json",
        "assets/vocabulary.txt",
        "manifest.json",
        "run.json",
        "weights.bin",
    ]
    assert sorted(before) == ["..", ".writing-step-00000001", *(f".writing-step-00000001/{name}" for name in files)]
    assert after == ["rename", "."]
