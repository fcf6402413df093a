"""The file of CSVLog and JSONLog: open from the first row to the end of the run, and still the file that has its name."""

from __future__ import annotations

import contextlib
import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hookcore.store import disk
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, JSONLog
from tests.plugins.at import At

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS = pytest.mark.parametrize("kind", [CSVLog, JSONLog])
UNTIMED: dict[Any, dict[str, Any]] = {CSVLog: {}, JSONLog: {"clock": lambda: 0.0}}
"""The parameters with which two runs write the same log."""


def train(plugins: Sequence[Any], epochs: int = 4, *, late: bool = False) -> None:
    """Train a run that logs a value each epoch and, if `late`, another one in the third, which is a new column."""
    with Loop(plugins, epochs=epochs) as loop:
        for epoch in loop.epochs():
            loop.log({"loss": 1.0} | ({"late": 2.0} if late and epoch == 2 else {}))
    assert not loop.run.failures


def rows(path: Path) -> int:
    """Return the number of observations in a log."""
    return sum('"event": "epoch"' in line or line[0].isdigit() for line in path.read_text().splitlines())


def handles(path: Path) -> int:
    """Return how many descriptors of this process are open on `path`."""
    is_open = 0
    for descriptor in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing is closed
            is_open += os.path.samestat(os.fstat(int(descriptor.name)), path.stat())
    return is_open


@KINDS
def test_a_run_opens_its_log_once(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows it adds; and once more if the file is replaced for a new column."""
    opened: list[Path] = []
    open_end: Callable[[Path], int] = disk.open_end

    def noted(path: Path) -> int:
        opened.append(path)
        return open_end(path)

    monkeypatch.setattr(disk, "open_end", noted)
    train([kind(tmp_path / "log")], epochs=9)
    assert opened == [tmp_path / "log"]
    train([kind(tmp_path / "another")], epochs=9, late=True)
    assert opened[1:] == [tmp_path / "another"] * (1 + (kind is CSVLog))


@KINDS
@pytest.mark.parametrize("end", ["ends", "fails", "is interrupted", "is dropped"])
def test_no_handle_stays_open(tmp_path: Path, kind: Any, end: str) -> None:
    """However the run ends, also if it is dropped without its end."""
    path = tmp_path / "log"
    loop = Loop([kind(path)], epochs=4)
    errors = {"fails": ZeroDivisionError, "is interrupted": KeyboardInterrupt}
    if end == "is dropped":
        loop.__enter__()
        epochs = loop.epochs()
        for _ in range(3):
            next(epochs)
            loop.log(loss=1.0)
        assert handles(path) > 0
        del loop, epochs
        gc.collect()
    else:
        with pytest.raises(errors[end]) if end in errors else contextlib.nullcontext(), loop:
            for epoch in loop.epochs():
                loop.log({"loss": 1.0} | ({"late": 2.0} if epoch == 1 else {}))
                if epoch == 2 and end in errors:
                    assert handles(path) > 0
                    raise errors[end]
    assert handles(path) == 0
    assert rows(path) > 1


@KINDS
def test_a_log_that_was_disabled_has_no_handle(tmp_path: Path, kind: Any) -> None:
    """An error in writing disables it, and the plugin outlives the run; it leaves open neither the old file nor another."""
    path, log = tmp_path / "log", kind(tmp_path / "log")

    def break_it() -> None:
        path.rename(tmp_path / "renamed")
        path.mkdir()

    with Loop([log, At(1, break_it)], epochs=3) as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0)
    assert loop.run.failures
    assert handles(tmp_path / "renamed") == 0
    assert log.path == path


@KINDS
@pytest.mark.parametrize("how", ["removes", "renames", "replaces"])
def test_a_row_is_added_to_the_file_that_has_the_name(tmp_path: Path, kind: Any, how: str) -> None:
    """Another program removes, renames or replaces the file under the run: the next row is in the log, not in the old file."""
    path = tmp_path / "log"

    def change() -> None:
        if how == "removes":
            path.unlink()
        elif how == "renames":
            path.rename(tmp_path / "rotated")
        else:
            (tmp_path / "copy").write_bytes(path.read_bytes())
            (tmp_path / "copy").replace(path)

    train([kind(path), At(2, change)])
    assert rows(path) == (4 if how == "replaces" else 2)
    if how == "renames":
        assert rows(tmp_path / "rotated") == 2


@KINDS
@pytest.mark.parametrize("how", ["create", "copytruncate"])
def test_a_file_that_was_emptied_begins_anew(tmp_path: Path, kind: Any, how: str) -> None:
    """After `logrotate` has emptied it, the next row is at its beginning, not after a hole, and under a header if it has one."""
    path, whole = tmp_path / "log", tmp_path / "whole"

    def rotate() -> None:
        (tmp_path / "rotated").write_bytes(path.read_bytes())
        if how == "create":
            path.unlink()
            path.touch()
        else:
            os.truncate(path, 0)

    train([kind(path), At(2, rotate)])
    assert b"\0" not in path.read_bytes()
    assert rows(path) == 2
    if kind is CSVLog:
        train([kind(whole)])
        header, *entries = whole.read_text().splitlines()
        assert path.read_text().splitlines() == [header, *entries[2:]]


@KINDS
def test_a_row_is_on_a_line_of_its_own_after_an_editor_removed_the_last_line_end(tmp_path: Path, kind: Any) -> None:
    """An editor that removes the last line end does not put two rows into one line."""
    path = tmp_path / "log"
    train([kind(path, **UNTIMED[kind])])
    whole = path.read_text()
    train([kind(path, **UNTIMED[kind]), At(2, lambda: path.write_text(path.read_text().removesuffix("\n")))])
    assert path.read_text() == whole


def test_columns_that_another_program_added_stay(tmp_path: Path) -> None:
    """A column that another program added to a CSV file is kept when rows are added."""
    path = tmp_path / "log"

    def annotate() -> None:
        header, *entries = path.read_text().splitlines()
        path.write_text("".join(f"{line}\n" for line in [f"{header},note", *(f"{entry},good" for entry in entries)]))

    train([CSVLog(path), At(2, annotate)])
    assert path.read_text() == "epoch,step,loss,note\n0,1,1.0,good\n1,2,1.0,good\n2,3,1.0,\n3,4,1.0,\n"


def test_a_csv_file_of_another_program_that_has_taken_the_name_is_moved_aside(tmp_path: Path) -> None:
    """Rows are not added to a file without an `epoch` column, and it is not lost."""
    path = tmp_path / "log.csv"
    train([CSVLog(path), At(2, lambda: path.write_text("name\nada\n"))])
    assert rows(path) == 2
    assert (tmp_path / "log.1.csv").read_text() == "name\nada\n"


def killed_and_resumed(kind: Any, path: Path, change: Callable[[], object]) -> str:
    """Return the log of a run under which `change` is called after an epoch, and which is killed after four more and resumed."""
    for plugins in ([At(1, change)], []):
        checkpoint = Checkpoint(path.with_name("checkpoints"), every_n_epochs=3, asynchronous=False)
        with Loop([kind(path), checkpoint, *plugins], epochs=8, trainee=ScriptedTrainee(), resume="auto") as loop:
            for epoch in loop.epochs():
                if epoch == 5 and plugins:
                    left = path.read_bytes()
                    break
                for _ in loop.batches([0]):
                    loop.log(loss=float(epoch))
        if plugins:
            path.write_bytes(left)  # as if it had been killed: without what it wrote at its end
    return path.read_text()


@KINDS
@pytest.mark.parametrize("how", ["removes", "renames", "truncates", "shortens"])
def test_a_log_that_was_changed_is_continued_without_repeated_rows(tmp_path: Path, kind: Any, how: str) -> None:
    """Another program removes, renames or cuts the log, and the run is then killed and resumed: no later row repeats."""
    path = tmp_path / "log"
    changes: dict[str, Callable[[], object]] = {
        "removes": path.unlink,
        "renames": lambda: path.rename(tmp_path / "rotated"),
        "truncates": lambda: os.truncate(path, 0),
        "shortens": lambda: path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1])),
    }
    lines = killed_and_resumed(kind, path, changes[how]).splitlines()
    if kind is CSVLog:
        epochs = [int(line.split(",")[0]) for line in lines[1:]]
    else:
        epochs = [found["epoch"] for found in map(json.loads, lines) if found["event"] == "epoch"]
    assert epochs == [1, 2, 3, 4, 5, 6, 7]
