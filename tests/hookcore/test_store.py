"""A checkpoint on disk is whole, or it is refused."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookcore import CheckpointError, SavedCheckpoint, state, store

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = {"progress": {"epoch": 1, "batch": 2, "step": 3}, "history": {"loss": [math.nan, 0.5]}, "plugins": {}}


def weights(directory: Path) -> None:
    """A trainee's files: one beside the manifest, one below, one empty, and one that is called like the manifest."""
    (directory / "weights.bin").write_bytes(bytes(range(64)))
    (directory / "assets").mkdir()
    (directory / "assets" / "vocabulary.txt").write_text("a b c")
    (directory / "assets" / "empty").touch()
    (directory / "assets" / "manifest.json").write_text("{}")


def save(
    root: Path,
    step: int = 1,
    value: float | None = 0.5,
    files: Callable[[Path], None] = weights,
    mode: Literal["min", "max"] = "min",
) -> SavedCheckpoint:
    return store.write(root, epoch=step, step=step, metric="val_loss", value=value, mode=mode, run=RUN, files=files)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# Writing.


def test_a_written_checkpoint_verifies_and_reads_back(tmp_path: Path) -> None:
    """What was written is found again: the description, the run's record, and the trainee's files, and nothing else is left."""
    saved = save(tmp_path / "deep" / "runs")
    assert (
        store.verify(saved.path)
        == saved
        == SavedCheckpoint(tmp_path / "deep" / "runs" / "step-00000001", 1, 1, "val_loss", 0.5, "min")
    )
    assert repr(saved.record()) == repr(RUN)
    assert (saved.path / "assets" / "vocabulary.txt").read_text() == "a b c"
    assert names(tmp_path / "deep" / "runs") == ["step-00000001"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.1, 3])
def test_any_value_round_trips(tmp_path: Path, value: float | None) -> None:
    """The monitored value comes back exactly, whatever number it is, or none."""
    saved = save(tmp_path, value=value)
    assert repr(store.verify(saved.path)) == repr(saved)


def test_the_manifest_is_standard_json(tmp_path: Path) -> None:
    """Other tools can read the manifest: standard JSON with the size and SHA-256 of every file."""
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
    """A second checkpoint of a step takes the first one's place, whatever a crash left beside it."""
    save(tmp_path, value=1.0)
    for leftover in "replaced-step-00000001", "step-00000001":
        (tmp_path / f".writing-{leftover}" / "old").mkdir(parents=True)
    second = save(tmp_path, value=2.0, files=lambda directory: (directory / "other.bin").touch())
    assert store.verify(second.path).value == 2.0
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("not savable"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """Whatever the trainee raises, the checkpoints from before are untouched and nothing half-written stays."""
    earlier = save(tmp_path, step=1)

    def failing(directory: Path) -> None:
        (directory / "half.bin").write_bytes(b"half")
        raise error

    for step in 1, 2:
        with pytest.raises(CheckpointError if isinstance(error, OSError) else type(error)):
            save(tmp_path, step=step, files=failing)
    assert names(tmp_path) == ["step-00000001"]
    assert store.verify(earlier.path) == earlier


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The error says which checkpoint, and why."""

    def failing(directory: Path) -> None:
        raise OSError(28, "No space left on device", str(directory))

    with pytest.raises(CheckpointError, match=r"step-00000001 could not be written: No space left on device\. Earlier"):
        save(tmp_path, files=failing)


def test_state_that_is_no_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """A run whose state cannot be written is a TypeError, and no checkpoint."""
    with pytest.raises(TypeError, match="State must"):
        store.write(tmp_path, epoch=0, step=1, metric=None, value=None, run={"x": object()}, files=weights)
    assert names(tmp_path) == []


def test_the_old_checkpoint_is_back_where_the_last_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new checkpoint of a step cannot take the old one's place, the old one stays."""
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
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path).as_posix())
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
    assert sorted(before) == [".writing-step-00000001", *(f".writing-step-00000001/{name}" for name in files)]
    assert after == ["rename", "."]


# The directory.


@pytest.mark.parametrize("below", [False, True])
def test_a_directory_that_is_a_file_is_refused(tmp_path: Path, below: bool) -> None:  # noqa: FBT001 - a parameter
    """Where the directory cannot be made, or is a file, opening says so."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written to: "):
        store.open_directory(tmp_path / "file" / "runs" if below else tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    """Opening tries to write, so that a run need not find out at its first save."""
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot be written to: Permission denied"):
        store.open_directory(tmp_path)


def test_a_directory_is_made_and_left_empty(tmp_path: Path) -> None:
    """Opening makes the directory with its parents, and leaves nothing in it."""
    for _ in range(2):
        store.open_directory(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


# Verifying.


def damaged(whole: SavedCheckpoint, root: Path) -> Path:
    """A copy of the checkpoint `whole` to be damaged."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole.path, root, symlinks=True)
    return root


EVERY_EXAMPLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@EVERY_EXAMPLE
@given(data=st.data())
def test_a_change_of_any_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """Any byte of any file changed to any other, the manifest's own included, and the checkpoint is refused."""
    copy = damaged(save(tmp_path / "runs"), tmp_path / "copy")
    file = data.draw(st.sampled_from(sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    file.write_bytes(content)
    with pytest.raises(CheckpointError):
        store.verify(copy)


def test_another_line_ending_is_found(tmp_path: Path) -> None:
    """A line ending of the manifest changed to another that Python's text files take for the same, and it is refused."""
    saved = save(tmp_path)
    manifest = saved.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n", b"\r", 1))
    with pytest.raises(CheckpointError, match="differs from its own digest"):
        store.verify(saved.path)


@EVERY_EXAMPLE
@given(data=st.data())
def test_a_truncated_or_longer_file_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """A file cut short at any point, or with something added, and the checkpoint is refused."""
    copy = damaged(save(tmp_path / "runs"), tmp_path / "copy")
    file = data.draw(st.sampled_from(sorted(path for path in copy.rglob("*") if path.is_file())))
    content = file.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    more = data.draw(
        st.binary(min_size=int(cut == len(content)), max_size=3).filter(lambda more: content[:cut] + more != content)
    )
    file.write_bytes(content[:cut] + more)
    with pytest.raises(CheckpointError):
        store.verify(copy)


@pytest.mark.parametrize("name", ["weights.bin", "assets/empty", "assets/manifest.json", "run.json", "manifest.json", "assets"])
def test_a_removed_file_is_found(tmp_path: Path, name: str) -> None:
    """Any file or directory missing, and the checkpoint is refused."""
    saved = save(tmp_path)
    path = saved.path / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=name):
        store.verify(saved.path)


@pytest.mark.parametrize("name", ["more.bin", ".hidden", "assets/more.bin", "assets/deep/manifest.json"])
def test_an_added_file_is_found(tmp_path: Path, name: str) -> None:
    """Any file more, empty and hidden ones too, and the checkpoint is refused, and the file named."""
    saved = save(tmp_path)
    (saved.path / name).parent.mkdir(exist_ok=True)
    (saved.path / name).touch()
    with pytest.raises(CheckpointError, match=name):
        store.verify(saved.path)


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    """A link in the place of a file, of a directory or of the checkpoint is refused, though what it points to is the same."""
    saved = save(tmp_path / "runs")
    outside = tmp_path / "outside"
    link = damaged(saved, tmp_path / "file")
    (link / "weights.bin").rename(outside)
    (link / "weights.bin").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"holds weights\.bin, which is a symbolic link"):
        store.verify(link)
    link = damaged(saved, tmp_path / "directory")
    (link / "assets").rename(tmp_path / "elsewhere")
    (link / "assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="assets"):
        store.verify(link)
    more = damaged(saved, tmp_path / "more")
    (more / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="linked"):
        store.verify(more)
    (tmp_path / "whole").symlink_to(saved.path)
    with pytest.raises(CheckpointError, match="is not a directory"):
        store.verify(tmp_path / "whole")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Something that is no plain file is refused before it is opened."""
    saved = save(tmp_path)
    (saved.path / "assets" / "empty").unlink()
    os.mkfifo(saved.path / "assets" / "empty")
    with pytest.raises(CheckpointError, match="no plain file"):
        store.verify(saved.path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """No directory, or a file in its place, is no checkpoint."""
    (tmp_path / "file").touch()
    for name in "nothing", "file":
        with pytest.raises(CheckpointError, match="is not a directory"):
            store.verify(tmp_path / name)


def sealed(**changes: Any) -> str:
    """A manifest with `changes` whose digest is right: whoever writes one can compute that too."""
    manifest = {"format": 1, "checkpoint": {"epoch": 1, "step": 1, "metric": None, "value": None}, "files": {}}
    return store._sealed(manifest | changes)


FILE = {"size": 1, "sha256": "0" * 64}
HOSTILE = {
    "nothing": "",
    "no JSON": "{",
    "no text": b"\xff\xfe",
    "a list": "[]",
    "a number": "1",
    "a string": '"format"',
    "null": "null",
    "no keys": "{}",
    "a float": '{"float": "nan"}',
    "a broken float": '{"float": []}',
    "very deep": "[" * 100_000,
    "a huge number": "9" * 10_000,
    "another format": sealed(format=2),
    "a format of text": sealed(format="1"),
    "no digest": json.dumps({"format": 1, "checkpoint": {}, "files": {}}),
    "files in a list": sealed(files=["run.json"]),
    "a file of null": sealed(files={"run.json": None}),
    "a file of text": sealed(files={"run.json": "size"}),
    "a huge size": sealed(files={"run.json": {**FILE, "size": 10**30}}),
    "a negative size": sealed(files={"run.json": {**FILE, "size": -1}}),
    "a path upwards": sealed(files={"run.json": FILE, "../outside": FILE}),
    "an absolute path": sealed(files={"run.json": FILE, "/etc/hostname": FILE}),
    "a null byte": sealed(files={"run.json": FILE, "a\0b": FILE}),
    "no checkpoint": sealed(checkpoint=None),
    "an empty checkpoint": sealed(checkpoint={}),
    "a checkpoint with more": sealed(checkpoint={"epoch": 1, "step": 1, "metric": None, "value": None, "path": "/etc"}),
    "an epoch of text": sealed(checkpoint={"epoch": "1", "step": 1, "metric": None, "value": None}),
    "a negative step": sealed(checkpoint={"epoch": 1, "step": -1, "metric": None, "value": None}),
    "a value of text": sealed(checkpoint={"epoch": 1, "step": 1, "metric": "loss", "value": "low"}),
    "a metric of numbers": sealed(checkpoint={"epoch": 1, "step": 1, "metric": 5, "value": 1.0}),
}


@pytest.mark.parametrize("manifest", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused_and_harms_no_other(tmp_path: Path, manifest: str | bytes) -> None:
    """Whatever a manifest says, verifying refuses it, and listing, ranking and pruning go on with the others."""
    whole, hostile = save(tmp_path, step=1), save(tmp_path, step=2, value=0.1)
    (tmp_path / "outside").write_bytes(b"x")
    (hostile.path / "manifest.json").write_bytes(manifest.encode() if isinstance(manifest, str) else manifest)
    with pytest.raises(CheckpointError, match="step-00000002"):
        store.verify(hostile.path)
    assert whole in store.available(tmp_path)
    assert store.newest(tmp_path) == whole
    assert store.best(tmp_path) == whole
    assert store.ranked(store.available(tmp_path))
    store.prune(tmp_path, [whole])
    assert store.verify(whole.path) == whole
    assert (tmp_path / "outside").read_bytes() == b"x"


@pytest.mark.parametrize(
    "manifest", ["a value of text", "an epoch of text", "a negative step", "a metric of numbers", "an empty checkpoint"]
)
def test_a_description_of_wrong_types_is_refused_where_the_files_are_whole(tmp_path: Path, manifest: str) -> None:
    """A description that is none is refused also where every file agrees with the manifest."""
    directory = tmp_path / "step-00000001"
    directory.mkdir()
    (directory / "manifest.json").write_text(str(HOSTILE[manifest]))
    with pytest.raises(CheckpointError):
        store.verify(directory)
    (directory / "manifest.json").write_text(sealed())
    assert store.verify(directory).step == 1


# Listing, ranking, pruning.


def test_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    """Listing goes by step, beyond eight digits too, and passes over everything else."""
    steps = [7, 100_000_000, 20, 99_999_999]
    for step in steps:
        save(tmp_path, step=step)
    for name in "step-1", "step-0000000x", ".writing-step-00000005", "earlier-001", "step-00000008":
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000009").touch()
    assert [one.step for one in store.available(tmp_path)] == sorted(steps)
    assert store.available(tmp_path / "nothing") == []


@given(values=st.lists(st.none() | st.floats()), mode=st.sampled_from(["min", "max"]))
def test_ranking_puts_the_best_first(values: list[float | None], mode: Any) -> None:
    """Ranking leaves out NaN and what has no value, and puts the best first, the earlier first among equals."""
    checkpoints = [SavedCheckpoint(Path(str(i)), i, i, "loss", value, mode) for i, value in enumerate(values)]
    ranked = store.ranked(reversed(checkpoints))
    sign = 1 if mode == "min" else -1
    assert sorted(one.step for one in ranked) == [
        i for i, value in enumerate(values) if value is not None and not math.isnan(value)
    ]
    keys = [(sign * one.value, one.step) for one in ranked if one.value is not None]
    assert keys == sorted(keys)


def test_newest_and_best_skip_what_is_damaged_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged checkpoint is passed over for the next one that verifies, and the log names it."""
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
    """Where no checkpoint verifies, the error names each one and what is wrong with it."""
    with pytest.raises(CheckpointError, match=r"No checkpoint that verifies under .*\.$"):
        store.newest(tmp_path)
    (save(tmp_path, step=1).path / "weights.bin").write_bytes(b"")
    (save(tmp_path, step=2).path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)step-00000002.*step-00000001.*weights\.bin differs"):
        store.newest(tmp_path)
    with pytest.raises(CheckpointError, match="No checkpoint with a monitored value that verifies"):
        store.best(tmp_path)


def test_the_best_is_the_largest_where_larger_is_better(tmp_path: Path) -> None:
    """A checkpoint knows its metric's direction, so that nobody has to say it again to find the best one later."""
    for step, value in enumerate([0.1, 0.9, 0.5], start=1):
        save(tmp_path, step=step, value=value, mode="max")
    assert store.best(tmp_path).step == 2


def test_a_trainee_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """A checkpoint without anything of the trainee would verify, and be of no use."""
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


@given(kept=st.sets(st.integers(1, 4)))
@settings(max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_prune_removes_all_but_what_is_kept(tmp_path: Path, kept: set[int]) -> None:
    """Pruning removes every checkpoint but those given, and nothing else, whatever a crash left behind."""
    shutil.rmtree(tmp_path)
    saved = [save(tmp_path, step=step, files=lambda directory: (directory / "empty").touch()) for step in range(1, 5)]
    (tmp_path / "notes.txt").touch()
    for one in saved:
        (tmp_path / f".writing-removed-{one.path.name}" / "half").mkdir(parents=True)
    removed = store.prune(tmp_path, [one for one in saved if one.step in kept])
    assert [one.step for one in removed] == [one.step for one in saved if one.step not in kept]
    assert [one.step for one in store.available(tmp_path)] == sorted(kept)
    assert (tmp_path / "notes.txt").exists()


def test_set_aside_moves_an_earlier_run_out_of_the_way(tmp_path: Path) -> None:
    """The checkpoints of an earlier run go into numbered directories, damaged ones too, never over one another."""
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


def test_the_record_is_state(tmp_path: Path) -> None:
    """The run's record goes through the same JSON as every state."""
    saved = save(tmp_path)
    assert repr(state.loads((saved.path / "run.json").read_text())) == repr(saved.record())


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error in the middle of writing leaves the old file, and nothing beside it; success leaves the new one."""
    path = tmp_path / "new" / "model.keras"

    def write(text: str) -> Callable[[Path], None]:
        def write_text(place: Path) -> None:
            place.write_text(text)

        return write_text

    def fail(place: Path) -> None:
        place.write_text("half")
        msg = "no space"
        raise OSError(msg)

    store.write_file(path, write("old"))
    with pytest.raises(OSError, match="no space"):
        store.write_file(path, fail)
    assert [(one.name, one.read_text()) for one in path.parent.iterdir()] == [("model.keras", "old")]
    store.write_file(path, write("new"))
    assert [(one.name, one.read_text()) for one in path.parent.iterdir()] == [("model.keras", "new")]


def test_what_a_crash_left_behind_goes_when_the_directory_is_opened(tmp_path: Path) -> None:
    """A half-written checkpoint has no use, and a file of somebody else's stays."""
    (tmp_path / ".writing-step-00000001").mkdir()
    (tmp_path / ".writing-step-00000001" / "model.keras").write_text("half")
    (tmp_path / "notes.txt").write_text("mine")
    store.open_directory(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    """What it points to is replaced, as when one writes through it."""
    (tmp_path / "real.keras").write_text("old")
    (tmp_path / "latest.keras").symlink_to("real.keras")

    def write(place: Path) -> None:
        place.write_text("new")

    store.write_file(tmp_path / "latest.keras", write)
    assert (tmp_path / "latest.keras").is_symlink()
    assert (tmp_path / "real.keras").read_text() == "new"
