"""A directory of checkpoints: each is whole or absent, whatever fails, and the right ones are kept."""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hookcore import CheckpointError, store
from hookcore.store import disk
from hookcore.store.retention import Retention
from tests.hookcore.store.checkpoints import names, save, small

if TYPE_CHECKING:
    from collections.abc import Callable


# The directory.


@pytest.mark.parametrize("below", [False, True])
def test_a_directory_that_is_a_file_is_refused(tmp_path: Path, below: bool) -> None:  # noqa: FBT001 - a parameter
    """If the directory cannot be made, or is a file, `open_directory` raises an error with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written to: "):
        store.open_directory(tmp_path / "file" / "runs" if below else tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    """`open_directory` tries to write, so that a run does not fail only at its first save."""
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot be written to: Permission denied"):
        store.open_directory(tmp_path)


def test_a_directory_on_a_read_only_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`open_directory` tries to write even if the directory exists and its permissions allow it."""
    mkdir = Path.mkdir

    def refuse(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - pathlib's
        if not path.exists():
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        mkdir(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CheckpointError, match="cannot be written to: Read-only file system"):
        store.open_directory(tmp_path)


def test_a_directory_is_made_and_left_empty(tmp_path: Path) -> None:
    """`open_directory` makes the directory with its parents, and leaves nothing in it."""
    for _ in range(2):
        store.open_directory(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("left", ["directory", "file", "link", "broken link"])
def test_what_a_crash_left_behind_goes_whatever_it_is(tmp_path: Path, left: str) -> None:
    """Anything half-written is removed, and the targets of links in it stay."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    path = tmp_path / ".writing-step-00000001"
    if left == "directory":
        (path / "deep").mkdir(parents=True)
    elif left == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "mine" if left == "link" else "nowhere")
    store.open_directory(tmp_path)
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == ["notes.txt"]


def test_what_cannot_be_cleaned_up_is_said_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file on a network file system that cannot be removed is logged, and the run begins anyway."""
    (tmp_path / ".writing-removed-step-00000001").mkdir()

    def busy(path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    store.open_directory(tmp_path)
    assert "removed-step-00000001 was left behind and cannot be removed" in caplog.text


def test_a_checkpoint_that_was_about_to_be_replaced_is_back(tmp_path: Path) -> None:
    """If a process dies between the two renames of a replacement, the old checkpoint gets its name back."""
    saved = save(tmp_path)
    saved.path.rename(tmp_path / ".writing-replaced-step-00000001")
    (tmp_path / ".writing-step-00000001").mkdir()
    store.open_directory(tmp_path)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(saved.path) == saved


def test_a_checkpoint_that_was_replaced_stays_replaced(tmp_path: Path) -> None:
    """If a process dies after the new checkpoint has its name, the new one stays and the old one is removed."""
    old = save(tmp_path, value=1.0)
    shutil.copytree(old.path, tmp_path / ".writing-replaced-step-00000001")
    new = save(tmp_path, value=2.0)
    shutil.copytree(old.path, tmp_path / ".writing-replaced-step-00000001", dirs_exist_ok=True)
    store.open_directory(tmp_path)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(new.path).value == 2.0


@pytest.mark.parametrize("link", ["link", "broken link", "file"])
def test_what_has_a_checkpoints_name_and_is_none_is_replaced(tmp_path: Path, link: str) -> None:
    """A link or a file with a checkpoint's name is replaced by the checkpoint, and the target of the link stays."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "mine").mkdir()
    path = tmp_path / "runs" / "step-00000001"
    if link == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / ("mine" if link == "link" else "nowhere"))
    assert store.verify(save(tmp_path / "runs").path).step == 1
    assert names(tmp_path / "runs") == ["step-00000001"]
    assert names(tmp_path) == ["mine", "runs"]


# Listing, ranking, pruning.


def test_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    """Checkpoints are listed by step, also beyond eight digits, and everything else is skipped."""
    steps = [7, 100_000_000, 20, 99_999_999]
    for step in steps:
        save(tmp_path, step=step)
    for name in "step-1", "step-0000000x", ".writing-step-00000005", "earlier-001", "step-00000008":
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000009").touch()
    assert [one.step for one in store.available(tmp_path)] == sorted(steps)
    assert store.available(tmp_path / "nothing") == []


def test_batches_since_an_update_are_part_of_a_checkpoints_name_and_place(tmp_path: Path) -> None:
    """A checkpoint within an accumulation does not replace the one of its step, is newer, and is set aside by its place."""
    for accumulated in (12, 0, 2):
        save(tmp_path, step=5, accumulated=accumulated, value=float(accumulated))
    save(tmp_path, step=6)
    assert names(tmp_path) == ["step-00000005", "step-00000005+12", "step-00000005+2", "step-00000006"]
    assert [checkpoint.place for checkpoint in store.available(tmp_path)] == [(5, 0), (5, 2), (5, 12), (6, 0)]
    assert store.verify(tmp_path / "step-00000005+2").accumulated == 2
    aside = store.set_aside(tmp_path, after=5, accumulated=2)
    assert aside is not None
    assert names(aside) == ["step-00000005+12", "step-00000006"]
    assert store.newest(tmp_path).path.name == "step-00000005+2"
    (tmp_path / "step-00000005+2").rename(tmp_path / "step-00000005+3")
    with pytest.raises(CheckpointError, match="name of another"):
        store.verify(tmp_path / "step-00000005+3")


def test_newest_and_best_skip_what_is_damaged_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged checkpoint is skipped for the next one that verifies, and the log names it."""
    save(tmp_path, step=1, value=0.3)
    save(tmp_path, step=2, value=0.2)
    (save(tmp_path, step=3, value=0.1).path / "weights.bin").write_bytes(b"")
    (save(tmp_path, step=4, value=0.0).path / "manifest.json").write_bytes(b"")
    for find in store.newest, store.best:
        assert find(tmp_path).step == 2
        messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(messages) == 2
        assert all(any(f"step-0000000{step}" in message for message in messages) for step in (3, 4))
        caplog.clear()


def test_nothing_whole_is_an_error_that_names_what_is_damaged(tmp_path: Path) -> None:
    """If no checkpoint verifies, the error names each one and what is wrong with it."""
    with pytest.raises(CheckpointError, match=r"(?m)No checkpoint that verifies under .*\.$"):
        store.newest(tmp_path)
    (save(tmp_path, step=1).path / "weights.bin").write_bytes(b"")
    (save(tmp_path, step=2).path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)step-00000002.*step-00000001.*weights\.bin differs"):
        store.newest(tmp_path)
    with pytest.raises(CheckpointError, match="No checkpoint with a monitored value that verifies"):
        store.best(tmp_path)


def test_the_best_is_the_largest_where_larger_is_better(tmp_path: Path) -> None:
    """A checkpoint has its metric's direction, so that the best one can be found later without it."""
    for step, value in enumerate([0.1, 0.9, 0.5], start=1):
        save(tmp_path, step=step, value=value, mode="max")
    assert store.best(tmp_path).step == 2


def test_a_trainee_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """A trainee that writes no file is an error, because the checkpoint would verify and be useless."""
    with pytest.raises(CheckpointError, match="the trainee wrote no file"):
        save(tmp_path, files=lambda _: None)
    assert names(tmp_path) == []


def test_best_needs_a_value(tmp_path: Path) -> None:
    """A checkpoint without a monitored value, or with NaN, is never the best."""
    save(tmp_path, step=1, value=None)
    save(tmp_path, step=2, value=math.nan)
    with pytest.raises(CheckpointError, match="with a monitored value"):
        store.best(tmp_path)
    assert store.newest(tmp_path).step == 2


def test_set_aside_moves_an_earlier_run_out_of_the_way(tmp_path: Path) -> None:
    """The checkpoints of an earlier run, damaged ones too, are moved into a new numbered directory."""
    assert store.set_aside(tmp_path) is None
    for name in "earlier-007-good", "earlier-notes":
        (tmp_path / name).mkdir()
    moved = []
    for _ in range(2):
        saved = save(tmp_path)
        (tmp_path / "step-00000002").mkdir()
        moved.append(store.set_aside(tmp_path))
        assert store.available(tmp_path) == []
        assert not saved.path.exists()
    assert moved == [tmp_path / "earlier-001", tmp_path / "earlier-002"]
    for aside in moved:
        assert aside is not None
        assert names(aside) == ["step-00000001", "step-00000002"]
        assert store.newest(aside).step == 1


@pytest.mark.parametrize("retention", [Retention(last=1), Retention(last=1, every=1)])
def test_prune_removes_what_has_no_reason_to_stay_and_nothing_else(tmp_path: Path, retention: Retention) -> None:
    """Checkpoints that the retention or the caller keeps stay, and so do unreadable ones; the removed ones are returned."""
    saved = [save(tmp_path, step=step, epoch=step // 2, value=float(step % 3), files=small) for step in range(1, 7)]
    (tmp_path / "notes.txt").touch()
    (tmp_path / "step-00000099").mkdir()
    for one in saved:
        (tmp_path / f".writing-removed-{one.path.name}" / "half").mkdir(parents=True)
    removed = store.prune(tmp_path, retention, also=[saved[1]])
    kept = {2, 3, 6} | ({1, 5} if retention.every else set())
    assert removed == [one for one in saved if one.step not in kept]
    left = [name for name in names(tmp_path) if not name.startswith(".writing-removed-")]
    assert left == ["notes.txt", *(one.path.name for one in saved if one.step in kept), "step-00000099"]
    for one in saved:
        assert (tmp_path / f".writing-removed-{one.path.name}").exists() == (one.step in kept)


def test_prune_keeps_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that the caller keeps may be given by another path to the same directory."""
    save(tmp_path / "runs")
    save(tmp_path / "runs", step=2, value=0.1)
    monkeypatch.chdir(tmp_path)
    assert store.prune(tmp_path / "runs", Retention(last=1), also=store.available(Path("runs"))) == []


@pytest.mark.parametrize("act", ["prune", "clear", "remove"])
@pytest.mark.parametrize(
    ("fails", "error"),
    [
        ("rename", PermissionError(errno.EACCES, "Permission denied")),
        ("rmtree", PermissionError(errno.EACCES, "Permission denied")),
        ("rmtree", RecursionError("Permission denied")),  # directories nested very deep
    ],
)
def test_what_cannot_be_removed_is_a_checkpoint_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, fails: str, error: Exception
) -> None:
    """If the file system refuses, the error names the checkpoint, and half of one never has a checkpoint's name."""
    saved = [save(tmp_path, step=step, value=1.0 - step, files=small) for step in (1, 2)]

    def refuse(path: Path, *_: object) -> None:
        if fails == "rmtree":
            assert path.name.startswith(".writing-removed-")
            (path / "weights.bin").unlink(missing_ok=True)
        raise error

    acts: dict[str, Callable[[], object]] = {
        "prune": lambda: store.prune(tmp_path, Retention(last=1)),
        "clear": lambda: store.clear(tmp_path),
        "remove": lambda: store.remove(saved[0].path),
    }
    with monkeypatch.context() as patch:
        patch.setattr(Path if fails == "rename" else shutil, fails, refuse)
        with pytest.raises(CheckpointError, match=r"step-00000001 cannot be removed: Permission denied"):
            acts[act]()
    for path in store.named(tmp_path):
        store.verify(path)
    if (act, fails) != ("clear", "rmtree"):  # which takes the names of all before it removes the first
        assert store.verify(saved[1].path) == saved[1]


def test_clear_removes_every_checkpoint_and_what_a_crash_left_of_one(tmp_path: Path) -> None:
    """After `clear`, the directory holds none of our files, and all of the others."""
    for step in range(3):
        save(tmp_path, step=step)
    (tmp_path / "step-00000001" / "manifest.json").write_text("damaged")
    (tmp_path / "step-00000009").touch()
    (tmp_path / ".writing-step-00000010").mkdir()
    (tmp_path / "earlier-001").mkdir()
    (tmp_path / "notes.txt").touch()
    store.clear(tmp_path)
    assert names(tmp_path) == ["earlier-001", "notes.txt"]
    store.clear(tmp_path / "nothing")


def test_a_directory_that_cannot_be_listed_is_a_checkpoint_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be listed is an error, and does not count as empty."""

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=r"(?m)^The checkpoint directory \S+ cannot be read: Permission denied\.$"):
        store.newest(tmp_path)


def test_set_aside_takes_what_is_past_a_step(tmp_path: Path) -> None:
    """Checkpoints that a resumed run will save again are moved by the step in their names, damaged or not; others stay."""
    for step in (3, 7, 20, 100_000_000):
        save(tmp_path, step=step)
    (tmp_path / "step-00000020" / "manifest.json").unlink()
    (tmp_path / "step-00000019").mkdir()
    assert store.set_aside(tmp_path, after=100_000_000) is None
    aside = store.set_aside(tmp_path, after=7)
    assert aside == tmp_path / "earlier-001"
    assert names(tmp_path) == ["earlier-001", "step-00000003", "step-00000007"]
    assert names(aside) == ["step-00000019", "step-00000020", "step-100000000"]
    save(tmp_path, step=0)
    again = store.set_aside(tmp_path)
    assert again == tmp_path / "earlier-002"
    assert names(again) == ["step-00000000", "step-00000003", "step-00000007"]


def test_what_cannot_be_set_aside_is_a_checkpoint_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If checkpoints cannot be moved, the error names the directory, and nothing is lost."""
    saved = save(tmp_path)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path), None, str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointError, match=r"^The checkpoints of an earlier run in \S+ cannot be set aside: Read-only file"):
        store.set_aside(tmp_path)
    assert store.verify(saved.path) == saved


def test_what_was_made_or_moved_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory is synced into its parent at every level, and `set_aside` is durable when it returns."""
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync", synced.append)
    store.open_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path.parent, tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    save(tmp_path / "a" / "b")
    synced.clear()
    aside = store.set_aside(tmp_path / "a" / "b")
    assert synced[-2:] == [aside, tmp_path / "a" / "b"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error while writing leaves the old file and nothing beside it; success leaves the new one."""
    path = tmp_path / "new" / "model.keras"

    def write(text: str) -> Callable[[Path], None]:
        def write_text(place: Path) -> None:
            place.write_text(text)

        return write_text

    def fail(place: Path) -> None:
        place.write_text("half")
        raise OSError("no space")

    store.write_file(path, write("old"))
    with pytest.raises(OSError, match="no space"):
        store.write_file(path, fail)
    assert [(one.name, one.read_text()) for one in path.parent.iterdir()] == [("model.keras", "old")]
    store.write_file(path, write("new"))
    assert [(one.name, one.read_text()) for one in path.parent.iterdir()] == [("model.keras", "new")]


def test_what_a_crash_left_behind_goes_when_the_directory_is_opened(tmp_path: Path) -> None:
    """A half-written checkpoint is removed, and other files stay."""
    (tmp_path / ".writing-step-00000001").mkdir()
    (tmp_path / ".writing-step-00000001" / "model.keras").write_text("half")
    (tmp_path / "notes.txt").write_text("mine")
    store.open_directory(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    """The target of a link is replaced, as if one wrote through the link."""
    (tmp_path / "real.keras").write_text("old")
    (tmp_path / "latest.keras").symlink_to("real.keras")

    def write(place: Path) -> None:
        place.write_text("new")

    store.write_file(tmp_path / "latest.keras", write)
    assert (tmp_path / "latest.keras").is_symlink()
    assert (tmp_path / "real.keras").read_text() == "new"
