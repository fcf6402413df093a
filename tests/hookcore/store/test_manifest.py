"""A damaged or hostile checkpoint is refused, without waiting and without reading outside of its directory."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import shutil
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookcore import CheckpointError, SavedCheckpoint, store
from hookcore.store import manifest
from hookcore.store.retention import Retention
from tests.hookcore.store.checkpoints import RECORD, forge, names, read_manifest, save, small, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

_watching: list[set[str]] = []


@sys.addaudithook  # for good: there is no removing one
def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in {"open", "os.scandir", "os.listdir"} and isinstance(arguments[0], str | os.PathLike):
        _watching[-1].add(os.fspath(arguments[0]))


@contextlib.contextmanager
def opened() -> Iterator[set[str]]:
    """Record the paths of the files and directories that are opened within the block."""
    _watching.append(set())
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def damaged(whole: SavedCheckpoint, root: Path) -> Path:
    """Return a copy of the checkpoint `whole`, which the test damages."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole.path, root, symlinks=True)
    return root


EVERY_EXAMPLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@EVERY_EXAMPLE
@given(data=st.data())
def test_a_change_of_any_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """If any byte of any file, the manifest included, is changed, the checkpoint is refused."""
    copy = damaged(save(tmp_path / "runs"), tmp_path / "copy")
    file = data.draw(st.sampled_from(sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    file.write_bytes(content)
    with pytest.raises(CheckpointError):
        store.verify(copy)


def test_another_line_ending_is_found(tmp_path: Path) -> None:
    """If a line ending of the manifest is changed to another one that Python accepts, the checkpoint is refused."""
    saved = save(tmp_path)
    manifest = saved.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n", b"\r", 1))
    with pytest.raises(CheckpointError, match="differs from its own digest"):
        store.verify(saved.path)


@EVERY_EXAMPLE
@given(data=st.data())
def test_a_truncated_or_longer_file_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """If a file is cut at any point, or longer, the checkpoint is refused."""
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
    """If any file or directory is missing, the checkpoint is refused."""
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
    """If there is any other file, even an empty or hidden one, the checkpoint is refused, and the error names the file."""
    saved = save(tmp_path)
    (saved.path / name).parent.mkdir(exist_ok=True)
    (saved.path / name).touch()
    with pytest.raises(CheckpointError, match=f"does not hold the files that its manifest lists: {name}"):
        store.verify(saved.path)


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    """A link in place of a file, a directory or the checkpoint is refused, even if the target is the same."""
    saved = save(tmp_path / "runs")
    outside = tmp_path / "outside"
    link = damaged(saved, tmp_path / "file")
    (link / "weights.bin").rename(outside)
    (link / "weights.bin").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"holds weights\.bin, which is a link"):
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
    """Anything that is not a plain file is refused before it is opened."""
    saved = save(tmp_path)
    (saved.path / "assets" / "empty").unlink()
    os.mkfifo(saved.path / "assets" / "empty")
    with pytest.raises(CheckpointError, match="not a plain file"):
        store.verify(saved.path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path without a directory, or with a file in its place, is not a checkpoint."""
    (tmp_path / "file").touch()
    for name in "nothing", "file":
        with pytest.raises(CheckpointError, match="is not a directory"):
            store.verify(tmp_path / name)


# Hostile ones.

FILE = {"size": 1, "sha256": "0" * 64}
HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "a pickle": pickle.dumps({"format": 1}),
    "a list": b"[]",
    "a number": b"1",
    "a string": b'"format"',
    "null": b"null",
    "no keys": b"{}",
    "a float": b'{"float": "nan"}',
    "a broken float": b'{"float": []}',
    "very deep": b"[" * 100_000,
    "very deep objects": b'{"format":' * 100_000,
    "very deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "a huge number": b"9" * 10_000,
    "no digest": b'{"format": 1, "checkpoint": {}, "files": {}}',
}


@pytest.mark.parametrize("manifest", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused_and_harms_no_other(tmp_path: Path, manifest: bytes) -> None:
    """Whatever has the manifest's name is refused by `verify`, while the other checkpoints are listed, ranked and pruned."""
    whole, hostile = save(tmp_path, step=1), save(tmp_path, step=2, value=0.1)
    (hostile.path / "manifest.json").write_bytes(manifest)
    with pytest.raises(CheckpointError, match=r"The checkpoint \S+step-00000002 "):
        store.verify(hostile.path)
    assert store.available(tmp_path) == [whole]
    assert store.newest(tmp_path) == whole
    assert store.best(tmp_path) == whole
    assert store.prune(tmp_path, Retention(last=1)) == []
    assert hostile.path.exists()


DESCRIPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "another step than in its name": ({"step": 3}, "has a manifest of step 3, and the name of another step"),
    "more than there is to say": ({"path": "/etc"}, "path"),
    "an epoch of text": ({"epoch": "1"}, "epoch must be an integer"),
    "an epoch of true": ({"epoch": True}, "epoch must be an integer"),
    "an epoch too large to print": ({"epoch": 10**4200}, "epoch"),
    "a step of NaN": ({"step": math.nan}, "step must be an integer"),
    "a step of infinity": ({"step": math.inf}, "step must be an integer"),
    "a negative step": ({"step": -1}, "step must be an integer"),
    "a step that is a list": ({"step": [2]}, "step must be an integer"),
    "a value of text": ({"value": "low"}, "value must be a number"),
    "a value of true": ({"value": True}, "value must be a number"),
    "a value too large for a float": ({"value": 10**400}, "value must be a number"),
    "a metric of numbers": ({"metric": 5}, "metric must be a non-empty string"),
    "an unknown mode": ({"mode": "sideways"}, "mode"),
    "a mode that is a list": ({"mode": []}, "mode"),
    "a retention of text": ({"retention": "all"}, "cannot be read"),
    "a retention that keeps nothing": ({"retention": {"last": 0}}, "last must be an integer of at least 1"),
    "a retention with more": ({"retention": {"delete": "/"}}, "delete"),
}


@pytest.mark.parametrize(("changes", "problem"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_a_description_of_wrong_types_is_refused_where_all_else_is_right(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    """A description with wrong types is refused and not listed, even if every file and digest agrees."""
    saved = save(tmp_path, step=2)
    forge(saved.path)
    assert store.verify(saved.path).step == 2
    forge(saved.path, **changes)
    with pytest.raises(CheckpointError, match=problem) as refusal:
        store.verify(saved.path)
    assert len(str(refusal.value)) < 1000
    assert store.available(tmp_path) == []


CONTENTS: dict[str, tuple[dict[str, Any], str]] = {
    "another format": ({"format": 2}, "has format 2; this version of hookcore reads format 1"),
    "a format of text": ({"format": "1"}, "has format '1'"),
    "no checkpoint": ({"checkpoint": None}, "cannot be read"),
    "an empty checkpoint": ({"checkpoint": {}}, "cannot be read"),
    "a checkpoint in a list": ({"checkpoint": [1, 2]}, "cannot be read"),
    "files in a list": ({"files": ["run.json"]}, "cannot be read"),
    "no files": ({"files": {}}, "has no run.json"),
}


@pytest.mark.parametrize(("contents", "problem"), CONTENTS.values(), ids=CONTENTS.keys())
def test_a_manifest_of_another_shape_is_refused(tmp_path: Path, contents: dict[str, Any], problem: str) -> None:
    """A manifest with a right digest and another structure is refused."""
    saved = save(tmp_path)
    write_manifest(saved.path, **{**read_manifest(saved.path), **contents})
    with pytest.raises(CheckpointError, match=problem):
        store.verify(saved.path)


FILES: dict[str, tuple[dict[str, Any], str]] = {
    "a path upwards": ({"../outside": FILE}, r"does not hold the files that its manifest lists: \.\./outside"),
    "a path up and down": ({"assets/../../outside": FILE}, "does not hold the files"),
    "an absolute path": ({"/etc/hostname": FILE}, "does not hold the files that its manifest lists: /etc/hostname"),
    "a backslash": ({"..\\outside": FILE}, "does not hold the files"),
    "a null byte": ({"a\0b": FILE}, "does not hold the files"),
    "an escape sequence": ({"\x1b[31mred": FILE}, r"lists: \ufffd\[31mred"),
    "the same name in other words": ({"./weights.bin": FILE}, "does not hold the files"),
    "an empty name": ({"": FILE}, "does not hold the files"),
    "a file of null": ({"weights.bin": None}, "cannot be read"),
    "a file of text": ({"weights.bin": "size"}, "cannot be read"),
    "a gigantic size": ({"weights.bin": {**FILE, "size": 10**30}}, "weights.bin differs from its manifest in size"),
    "a negative size": ({"weights.bin": {**FILE, "size": -1}}, "weights.bin differs from its manifest in size"),
    "a size of NaN": ({"weights.bin": {**FILE, "size": math.nan}}, "weights.bin differs from its manifest in size"),
    "a wrong digest": ({"weights.bin": {**FILE, "size": 64}}, "weights.bin differs from its manifest"),
    "no digest": ({"weights.bin": {"size": 64}}, "weights.bin differs from its manifest"),
    "itself": ({"manifest.json": FILE}, "does not hold the files that its manifest lists: manifest.json"),
}


@pytest.mark.parametrize(("changes", "problem"), FILES.values(), ids=FILES.keys())
def test_a_manifest_that_lists_what_it_should_not_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    """Names that lead elsewhere, and sizes or digests of other files, are refused, and nothing outside is read."""
    (tmp_path / "outside").write_bytes(b"x")
    saved = save(tmp_path / "runs")
    contents = read_manifest(saved.path)
    write_manifest(saved.path, checkpoint=contents["checkpoint"], files={**contents["files"], **changes})
    with opened() as paths, pytest.raises(CheckpointError, match=problem):
        store.verify(saved.path)
    assert paths
    assert all(Path(path).is_relative_to(saved.path) for path in paths)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """A repeated key is refused, because readers differ in which of the two values they take."""
    saved = save(tmp_path)
    text = (saved.path / "manifest.json").read_text()
    (saved.path / "manifest.json").write_text(text.replace('"epoch": 1,', '"epoch": 7,\n  "epoch": 1,'))
    with pytest.raises(CheckpointError, match="a key twice"):
        store.verify(saved.path)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Weights.bin", "weights.bin"), ("caf\u00e9", "cafe\u0301"), ("\u212b", "\u00c5"), ("stra\u00dfe", "STRASSE"), ("a/x", "A")],
)
def test_names_that_some_file_systems_take_for_one_are_refused(tmp_path: Path, one: str, other: str) -> None:
    """Names that differ only in case or Unicode normalization are refused when they are read and when they are written."""

    def both(directory: Path) -> None:
        for name in one, other:
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).touch()

    with pytest.raises(CheckpointError, match=r"was not written: it holds .* and .*, which are one name on some file systems"):
        save(tmp_path, files=both)
    assert names(tmp_path) == []
    saved = save(tmp_path, files=small)
    both(saved.path)
    forge(saved.path)
    with pytest.raises(CheckpointError, match=r"cannot be read: it holds .* and .*, which are one name on some file systems"):
        store.verify(saved.path)


# What would hang or reach outside if it were opened.


@contextlib.contextmanager
def bound(path: Path) -> Iterator[None]:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening, contextlib.chdir(path.parent):
        listening.bind(path.name)
        yield


@contextlib.contextmanager
def pipe(path: Path) -> Iterator[None]:
    os.mkfifo(path)
    yield


@contextlib.contextmanager
def link_to_device(path: Path) -> Iterator[None]:
    path.symlink_to("/dev/zero")
    yield


@contextlib.contextmanager
def link_to_itself(path: Path) -> Iterator[None]:
    path.symlink_to(path.name)
    yield


@contextlib.contextmanager
def link_to_a_copy(path: Path) -> Iterator[None]:
    path.symlink_to(path.parents[2] / "copies" / path.name)
    yield


@contextlib.contextmanager
def directory(path: Path) -> Iterator[None]:
    path.mkdir()
    yield


@pytest.mark.parametrize("name", ["manifest.json", "run.json", "weights.bin", "assets/empty"])
@pytest.mark.parametrize("make", [bound, pipe, link_to_device, link_to_itself, link_to_a_copy, directory])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path: Path, make: Any, name: str) -> None:
    """A pipe, a socket, a link or a directory in place of a file is refused by every reader, and pruning continues."""
    saved = save(tmp_path / "runs")
    shutil.copytree(saved.path, tmp_path / "copies")
    contents = (saved.path / "manifest.json").read_bytes()
    (saved.path / name).unlink()
    with make(saved.path / name):
        with pytest.raises(CheckpointError, match="step-00000001"):
            store.verify(saved.path)
        if name == "manifest.json":
            assert store.available(tmp_path / "runs") == []
        else:
            assert (saved.path / "manifest.json").read_bytes() == contents
        if name == "run.json":
            with pytest.raises(CheckpointError):
                saved.record()
        with pytest.raises(CheckpointError, match="No checkpoint that verifies"):
            store.newest(tmp_path / "runs")
        save(tmp_path / "runs", step=2)
        store.prune(tmp_path / "runs", Retention(last=1))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(tmp_path: Path) -> None:
    """A device in place of a file is refused before it is opened."""
    saved = save(tmp_path)
    (saved.path / "manifest.json").unlink()
    try:
        os.mknod(saved.path / "manifest.json", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("not even root makes devices here")
    with pytest.raises(CheckpointError, match="not a plain file"):
        store.verify(saved.path)


def test_a_file_that_becomes_a_pipe_or_a_link_after_it_was_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a file is replaced after the check, opening it follows no link and waits for no pipe."""
    saved = save(tmp_path / "runs")
    before = (saved.path / "manifest.json").lstat()
    (saved.path / "manifest.json").rename(tmp_path / "outside")
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: before if path.name == "manifest.json" else lstat(path))
    (saved.path / "manifest.json").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="symbolic links"):
        store.verify(saved.path)
    (saved.path / "manifest.json").unlink()
    os.mkfifo(saved.path / "manifest.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.verify(saved.path)


# The record.


RECORDS = {
    "a pickle": pickle.dumps({"progress": {}}),
    "nothing": b"",
    "cut short": RECORD.encode()[:-1],
    "no text": b"\xff\xfe",
    "very deep": b'{"a":' * 100_000,
    "very deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "a list": b"[1]",
    "a number": b"3",
    "a float": b'{"float": "nan"}',
    "a key twice": b'{"epoch": 1, "epoch": 2}',
    "a key twice below": b'{"plugins": [{"epoch": 1, "epoch": 2}]}',
}


class Unpickled:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("record", [*RECORDS.values(), pickle.dumps(Unpickled())], ids=[*RECORDS, "a pickle that acts"])
def test_a_hostile_record_is_refused_and_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bytes) -> None:
    """A `run.json` that is not a record is refused by name, even if the manifest agrees with it."""
    monkeypatch.chdir(tmp_path)
    saved = save(tmp_path / "runs")
    (saved.path / "run.json").write_bytes(record)
    forge(saved.path)
    with pytest.raises(CheckpointError, match=r"step-00000001 "):
        store.verify(saved.path).record()
    assert names(tmp_path) == ["runs"]


def test_a_gigantic_record_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of more than 1 GiB is refused, both when it is read and when it is written."""
    saved = save(tmp_path)
    os.truncate(saved.path / "run.json", 2**30 + 1)
    with pytest.raises(CheckpointError, match=r"its run\.json has 1\.1 GB, and at most 1\.1 GB are read"):
        saved.record()
    monkeypatch.setattr(manifest, "MAX_RECORD_BYTES", 10)
    with pytest.raises(CheckpointError, match=r"step-00000002 was not written: its run\.json would have 11 B"):
        save(tmp_path, step=2, record="x" * 11)
    assert save(tmp_path, step=3, record="x" * 10).record_text() == "x" * 10


def test_a_gigantic_manifest_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A manifest of more than 16 MiB is refused."""
    saved = save(tmp_path)
    os.truncate(saved.path / "manifest.json", 2**40)
    with pytest.raises(CheckpointError, match=r"its manifest\.json has 1\.1 TB, and at most 16\.8 MB are read"):
        store.verify(saved.path)


def test_a_manifest_that_would_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a trainee has too many files for a manifest that could be read, the save is an error."""
    monkeypatch.setattr(manifest, "_MAX_MANIFEST_BYTES", 300)
    with pytest.raises(CheckpointError, match=r"its manifest\.json would have .*, and at most 300 B are read"):
        save(tmp_path)
    assert names(tmp_path) == []


def test_a_message_is_one_harmless_line(tmp_path: Path) -> None:
    """A message about a hostile checkpoint is one line, without control characters, and of limited length."""
    saved = save(tmp_path)
    (saved.path / ("\x1b]0;owned\x07\n" * 4)).touch()
    for number in range(200):
        (saved.path / f"a file of a rather long name, number {number}").touch()
    with pytest.raises(CheckpointError) as refusal:
        store.verify(saved.path)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


def test_without_contents_names_and_sizes_are_compared(tmp_path: Path) -> None:
    """Without `contents`, missing and cut files are found, and only the manifest is read."""
    saved = save(tmp_path)
    (saved.path / "weights.bin").write_bytes(bytes(64))
    with opened() as paths:
        assert store.verify(saved.path, contents=False) == saved
    assert {path for path in paths if Path(path).is_file()} == {str(saved.path / "manifest.json")}
    with pytest.raises(CheckpointError, match=r"weights\.bin differs"):
        store.verify(saved.path)
    (saved.path / "weights.bin").write_bytes(bytes(63))
    with pytest.raises(CheckpointError, match=r"weights\.bin differs from its manifest in size"):
        store.verify(saved.path, contents=False)


def test_a_wrong_size_is_found_before_anything_is_hashed(tmp_path: Path) -> None:
    """A file of the wrong size is found before any file is hashed."""
    saved = save(tmp_path)
    (saved.path / "weights.bin").write_bytes(b"")
    with opened() as paths, pytest.raises(CheckpointError, match="differs from its manifest in size"):
        store.verify(saved.path)
    assert {path for path in paths if Path(path).is_file()} == {str(saved.path / "manifest.json")}


def test_the_retention_is_read_back(tmp_path: Path) -> None:
    """The manifest has the retention, or None in a checkpoint of an earlier version."""
    kept = Retention(last=None, best=2, every=5)
    saved = save(tmp_path, retention=kept)
    assert store.verify(saved.path).retention == kept
    forge(saved.path)
    assert store.verify(saved.path).retention is None
