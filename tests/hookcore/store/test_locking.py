"""One run at a time trains into a directory. The other processes here are real ones."""

from __future__ import annotations

import contextlib
import copy
import errno
import fcntl
import logging
import os
import pickle
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hookcore import CheckpointError, store
from hookcore.store import locking

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = """
import sys
from pathlib import Path
from hookcore import store
lock = store.lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
lock.release()
"""
FORKER = """
import os, sys
from pathlib import Path
from hookcore import store
lock = store.lock(Path(sys.argv[1]))
child = os.fork()
if not child:
    os.write(1, b"forked\\n")
    sys.stdin.read()
    lock.release()
    os._exit(0)
os.kill(os.getpid(), 9)
"""


@contextlib.contextmanager
def process(code: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process, wait for its first line, and end it with its standard input."""
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip()
        yield other


def is_free(root: Path) -> bool:
    """Return whether another process gets the lock of `root`."""
    code = "import sys, pathlib, hookcore.store as s; s.lock(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", code, str(root)], check=False, capture_output=True, text=True)
    if ended.returncode:
        assert "CheckpointError" in ended.stderr
        assert f"held by process {os.getpid()} on " in ended.stderr
    return not ended.returncode


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    """As long as another process trains into a directory, locking it is an error that names the process."""
    store.lock(tmp_path / "runs").release()  # whose file's number the other process's may get
    with process(HOLDER, tmp_path / "runs") as holder:
        with pytest.raises(CheckpointError, match=rf"runs is in use: .*held by process {holder.pid} on \S+\. Stop that run"):
            store.lock(tmp_path / "runs")
        holder.communicate()
        store.lock(tmp_path / "runs").release()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """The lock of a killed process is free, and the lock file that it leaves does no harm."""
    with process(HOLDER, tmp_path) as holder:
        holder.kill()
    assert (tmp_path / ".lock").read_text() == f"{holder.pid} on {platform.node()}\n"
    (tmp_path / ".lock").write_text("a longer line than any\n" * 100)
    lock = store.lock(tmp_path)
    assert not is_free(tmp_path)
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()} on {platform.node()}\n"
    lock.release()
    assert is_free(tmp_path)


def test_a_forked_child_keeps_no_lock_and_releases_none(tmp_path: Path) -> None:
    """The lock of a killed process is free even if processes that it forked, such as data loaders, still run."""
    with process(FORKER, tmp_path) as forker:
        forker.wait()  # it speaks before it dies
        store.lock(tmp_path).release()
        mine = store.lock(tmp_path)
        forker.communicate()  # now the child calls release
        assert not is_free(tmp_path)
        mine.release()


def test_another_run_of_the_same_process_is_refused_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run of the same process is refused too, because each would remove the other's checkpoints."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs")
    monkeypatch.chdir(tmp_path)
    first = store.lock(tmp_path / "runs")
    for path in (tmp_path / "runs", tmp_path / "link", Path("runs")):
        with pytest.raises(CheckpointError, match=rf"held by process {os.getpid()} on \S+, which is this one\. Stop"):
            store.lock(path)
    assert not is_free(tmp_path / "runs")
    first.release()
    first.release()
    assert is_free(tmp_path / "runs")


@pytest.mark.parametrize("cycle", [False, True])
def test_a_lock_that_was_dropped_is_free(tmp_path: Path, *, cycle: bool) -> None:
    """The lock of an abandoned run is free for this and other processes once nothing refers to it."""
    held = [store.lock(tmp_path)]
    if cycle:
        held.append(held)  # type: ignore[arg-type]  # as loops and their plugins refer to each other
    del held
    store.lock(tmp_path).release()
    assert is_free(tmp_path)


def test_a_holder_is_asked_whether_it_yields(tmp_path: Path) -> None:
    """A run that is over yields the lock, and one that is not keeps it; only a run of this process is asked."""
    answers = [False, True]
    first = store.lock(tmp_path, lambda: answers.pop(0))
    with pytest.raises(CheckpointError, match="is in use"):
        store.lock(tmp_path)
    assert not is_free(tmp_path)
    assert answers == [True]
    second = store.lock(tmp_path)
    first.release()  # which is no longer its own
    assert not first.holds
    assert not is_free(tmp_path)
    second.check()
    second.release()


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "released"])
def test_a_lock_knows_that_it_was_lost(tmp_path: Path, how: str) -> None:
    """If another directory has the name now, `check` raises an error that tells what to do, and `release` leaves that one."""
    root = tmp_path / "runs"
    held = store.lock(root)
    held.check()
    if how == "removed":
        shutil.rmtree(root)
    elif how == "moved":
        root.rename(tmp_path / "moved")
    elif how == "replaced":
        (root / ".lock").unlink()
        (root / ".lock").touch()
    else:
        held.release()
    with pytest.raises(CheckpointError, match=r"runs is no longer this run's: .* removed, moved .* Train into another directory"):
        held.check()
    held.release()
    assert (tmp_path / "moved" / ".lock").exists() == (how == "moved")
    store.lock(root).release()


def test_a_copy_of_a_lock_holds_nothing(tmp_path: Path) -> None:
    """A plugin with a lock can be copied and pickled, and only the original holds the lock."""
    held = store.lock(tmp_path, lambda: False)
    for other in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):  # noqa: S301 - our own
        other.release()
    held.check()
    assert not is_free(tmp_path)
    held.release()


def test_a_lock_that_is_given_back_leaves_nothing(tmp_path: Path) -> None:
    """After the release no file is open and no lock is remembered, even if the lock was refused in between."""

    def lowest_free() -> int:
        descriptor = os.dup(0)
        os.close(descriptor)
        return descriptor

    before, held = lowest_free(), dict(locking._held)
    first = store.lock(tmp_path)
    within = lowest_free()
    with pytest.raises(CheckpointError):
        store.lock(tmp_path)
    assert lowest_free() == within
    first.release()
    del first
    with process(HOLDER, tmp_path) as holder:
        within = lowest_free()
        with pytest.raises(CheckpointError):
            store.lock(tmp_path)
        assert lowest_free() == within
        holder.communicate()
    assert lowest_free() == before
    assert dict(locking._held) == held


@pytest.mark.parametrize("function", ["fstat", "ftruncate", "write"])
def test_a_lock_that_is_interrupted_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Ctrl-C at any moment while the lock is being taken leaves it free."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, function, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.lock(tmp_path)
    store.lock(tmp_path).release()
    assert is_free(tmp_path)


def test_two_directories_have_two_locks(tmp_path: Path) -> None:
    """Runs in different directories do not affect one another, and each releases only its own lock."""
    first, second = store.lock(tmp_path / "first"), store.lock(tmp_path / "second")
    first.release()
    assert is_free(tmp_path / "first")
    assert not is_free(tmp_path / "second")
    second.release()


def test_a_lock_whose_file_was_removed_is_given_back_quietly(tmp_path: Path) -> None:
    """If the directory of a run is emptied, the run's end does not fail, and does not free the lock of the next run."""
    first = store.lock(tmp_path)
    (tmp_path / ".lock").unlink()
    second = store.lock(tmp_path)
    first.release()
    assert not is_free(tmp_path)
    second.release()


def test_a_lock_that_its_holder_removes_in_the_same_moment_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the holder removes the lock file just before it is locked, the new file is locked instead."""
    flock = fcntl.flock

    def removing(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / ".lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removing)
    lock = store.lock(tmp_path)
    assert not is_free(tmp_path)
    lock.release()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_lets_everybody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """On a file system without locks every run can train, and the log has a line at level DEBUG."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.DEBUG, "hookcore"):
        store.lock(tmp_path).release()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", f"{tmp_path}/.lock is not locked: [Errno {code}] {os.strerror(code)}")
    ]


def test_a_platform_without_fcntl_lets_everybody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without `fcntl` every run can train."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    store.lock(tmp_path / "runs").release()
    assert (tmp_path / "runs").is_dir()


@pytest.mark.parametrize("make", ["pipe", "link", "directory"])
def test_what_has_the_locks_name_and_is_none_is_refused(tmp_path: Path, make: str) -> None:
    """A pipe or a link with the lock's name is refused, without waiting for the one or writing through the other."""
    path = tmp_path / "runs" / ".lock"
    path.parent.mkdir()
    (tmp_path / "mine").write_text("mine")
    if make == "pipe":
        os.mkfifo(path)
    elif make == "link":
        path.symlink_to(tmp_path / "mine")
    else:
        path.mkdir()
    with pytest.raises(CheckpointError, match="runs"):
        store.lock(path.parent)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("below", [True, False])
def test_a_directory_that_is_a_file_cannot_be_locked(tmp_path: Path, below: bool) -> None:  # noqa: FBT001 - a parameter
    """If the directory cannot be made, the error is that of a directory that cannot be written to."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file\S* cannot be written to: "):
        store.lock(tmp_path / "file" / "runs" if below else tmp_path / "file")


def test_a_full_disk_keeps_nobody_from_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is too full for the holder's id, the lock still holds, and others get an error without the id."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        lock = store.lock(tmp_path)
    code = "import sys, pathlib, hookcore.store as s; s.lock(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True, text=True)
    assert "held by process (unknown)." in ended.stderr
    lock.release()
