"""Logs keep their promise after a loss of power: what a checkpoint counts exists, and everything that is read is whole."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import store
from hookcore.store import disk
from hookcore_plugins.log_file import LogFile
from hookcore_plugins.tensorboard import event_files, records
from tests.power.crashes import Recorder, Step, crashes, put, states, swaps, syncs, without

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.power.crashes import Crash

OLD, NEW = "epoch,loss\n0,0.5\n", "epoch,loss\n0,0.25\n1,0.125\n"


def replaces(promise: Callable[[Any], None], path: Path) -> None:
    """Write a file in a new directory, and replace it."""
    store.write_bytes(path, OLD.encode())
    promise((OLD, NEW))
    store.write_bytes(path, NEW.encode())
    promise((NEW,))


def replaced(path: Path, promise: Any) -> bool:
    text = path.read_text() if path.exists() else None
    return text in (promise or [None, OLD])


def moves_aside(promise: Callable[[Any], None], path: Path) -> None:
    """Move the log of an earlier run aside, and write another."""
    store.write_bytes(path, OLD.encode())
    promise(frozenset({OLD}))
    store.move_file_aside(path)
    store.write_bytes(path, NEW.encode())
    promise(frozenset({OLD, NEW}))


def moved_aside(path: Path, promise: Any) -> bool:
    return (promise or set()) <= {file.read_text() for file in path.parent.glob("*.csv") if file.is_file()} <= {OLD, NEW}


def appends(promise: Callable[[Any], None], path: Path) -> None:
    """Add lines to a log, with a promise of those before each checkpoint, and of all at the end."""
    store.make_directory(path.parent)
    log = LogFile(path, "log")
    for number in range(3):
        log.add(f"{number},first\n")
        log.add(f"{number},second\n")
        disk.sync_appended()
        promise(2 * (number + 1))
    log.add("9,last\n")
    log.close()
    promise(7)


LINES = [*(f"{number},{which}" for number in range(3) for which in ("first", "second")), "9,last"]


def appended(path: Path, promise: Any) -> bool:
    whole = path.read_text().partition("\0")[0].split("\n")[:-1] if path.exists() else []
    return whole == LINES[: len(whole)] and len(whole) >= (promise or 0)


def appends_again(promise: Callable[[Any], None], path: Path) -> None:
    """Remove a log under its run, and add lines, with the same promise."""
    store.make_directory(path.parent)
    log = LogFile(path, "log")
    log.add("removed\n")
    disk.unlink(path)
    log.add("again\n")
    disk.sync_appended()
    promise("again\n")
    log.close()


def appended_again(path: Path, promise: Any) -> bool:
    return promise is None or (path.exists() and path.read_text() == promise)


def cuts(promise: Callable[[Any], None], path: Path) -> None:
    """Continue event files from an earlier checkpoint three times: after two events, after one, and from the start."""
    directory = path.parent
    store.make_directory(directory)
    kept: list[bytes] = []
    for life, count in enumerate((0, 2, 1, 0)):
        if life:
            promise(tuple(kept[:count]))
        event_files.cut(directory, count)
        kept = [*kept[:count], *(f"{life} {number}".encode() for number in range(3))]
        new = directory / f"events.out.tfevents.{life}"
        file = disk.create(new)
        disk.append(file, new, records.framed([b"first", *kept[count:]]))
        os.close(file)
        disk.sync_appended()
        promise(tuple(kept))


def cut(path: Path, promise: Any) -> bool:
    found: list[bytes] = []
    kept = tuple(promise or ())
    if path.parent.exists():
        event_files.cut(path.parent, len(kept))
        for file in event_files.named(path.parent):
            content = file.read_bytes()
            places = [0, *records.ends(content)]
            found += [content[a + records.HEAD : b - records.TAIL] for a, b in itertools.pairwise(places)][1:]
    return tuple(found) == kept


@attrs.define
class Checking:
    """Check states, each once."""

    scratch: Path
    keeps: Any
    _known: dict[Any, bool] = attrs.field(factory=dict)
    _numbers: Any = attrs.field(factory=itertools.count)

    def first_broken(self, trace: list[Step]) -> Crash | None:
        return next((crash for crash in crashes(trace) if not self._holds(crash)), None)

    def _holds(self, crash: Crash) -> bool:
        key = crash.tree, repr(crash.promise)
        if key not in self._known:
            place = self.scratch / str(next(self._numbers))
            put(crash.tree, place)
            self._known[key] = self.keeps(place / "made" / "logs" / "log.csv", crash.promise)
            shutil.rmtree(place)
        return self._known[key]


def record(root: Path, write: Callable[[Callable[[Any], None], Path], None]) -> list[Step]:
    root.mkdir()
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        recorder.install(patch)
        disk.sync_appended()  # files of other tests
        write(recorder.promise, root / "made" / "logs" / "log.csv")
    return recorder.trace


CASES = [
    (replaces, replaced),
    (moves_aside, moved_aside),
    (appends, appended),
    (appends_again, appended_again),
    (cuts, cut),
]


@pytest.mark.parametrize(("write", "keeps"), CASES, ids=lambda case: case.__name__)
def test_a_log_keeps_its_promise(write: Any, keeps: Any, tmp_path: Path) -> None:
    """A log keeps its promise with two steps missing or torn, but not without one of its syncs, or with two steps swapped."""
    trace = record(tmp_path / "recorded", write)
    checking = Checking(tmp_path, keeps)
    assert checking.first_broken(trace) is None
    for site in syncs(trace):
        assert checking.first_broken(without(trace, site)) is not None, f"{site} is not needed"
    before = states(trace)
    for what, swapped in swaps(trace):
        assert states(swapped) <= before or checking.first_broken(swapped) is not None, f"no promise breaks with {what}"
