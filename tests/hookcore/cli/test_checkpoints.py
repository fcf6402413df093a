"""`hookcore checkpoints`: its output and its exit status."""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rich.console import Console

from hookcore import store
from hookcore.cli import checkpoints
from hookcore.cli.main import main
from hookcore.store.retention import Retention
from tests.hookcore.store.checkpoints import forge, names, save, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

RETENTION = Retention(last=2, best=2, every=3)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Save six checkpoints, none of which is pruned; return their directory."""
    for epoch, value in enumerate([0.5, 0.25, 0.125, math.nan, 0.75, 0.9]):
        retention = RETENTION if epoch >= 4 else Retention()  # the newest one's counts
        save(tmp_path / "runs", (epoch + 1) * 100, value, small, epoch=epoch, retention=retention)
    return tmp_path / "runs"


@pytest.fixture
def utc() -> Iterator[None]:
    """Set local time to UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def call(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["checkpoints", command, *map(str, arguments)])


def rows(result: Result) -> list[list[str]]:
    """Return the cells of the table's rows, which are two spaces apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.output.splitlines()]


def on_terminal(directory: Path, width: int) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False)
    checkpoints.show(directory, console)
    return file.getvalue()


def cut_weights(runs: Path, step: int) -> None:
    """Truncate the weights: damage that is found without reading files."""
    (runs / f"step-{step:08d}" / "weights.bin").write_bytes(b"")


def change_weights(runs: Path, step: int) -> None:
    """Change the weights: damage that is found only by reading files."""
    (runs / f"step-{step:08d}" / "weights.bin").write_bytes(b"9876543210")


@pytest.mark.usefixtures("utc")
def test_ls_lists_what_each_holds_and_why_it_is_kept(runs: Path) -> None:
    """A row has the step, the epoch counted from one, the metric, the size, the time, and the reason why the run keeps it."""
    for path in store.named(runs):
        os.utime(path / "manifest.json", (0, 1_700_000_000))
    size = sum(file.stat().st_size for file in (runs / "step-00000100").iterdir())
    result = call("ls", runs)
    assert result.exit_code == 0
    found = rows(result)
    assert found[0] == ["step", "epoch", "metric", "size", "saved", "kept as"]
    assert found[1] == ["100", "1", "val_loss=0.5", f"{size} B", "2023-11-14 22:13", "-"]
    assert [(row[0], row[1], row[2], row[-1]) for row in found[2:]] == [
        ("200", "2", "val_loss=0.25", "one of the 2 best"),
        ("300", "3", "val_loss=0.125", "best, every 3 epochs"),
        ("400", "4", "val_loss=nan", "-"),
        ("500", "5", "val_loss=0.75", "one of the last 2"),
        ("600", "6", "val_loss=0.9", "newest, every 3 epochs"),
    ]


def test_ls_lists_damaged_checkpoints_with_their_problems(runs: Path) -> None:
    """A damaged checkpoint is in the table, with its problem below; it is never the best, and the exit status is 1."""
    cut_weights(runs, 300)
    (runs / "step-00000600" / "manifest.json").unlink()
    result = call("ls", runs)
    assert result.exit_code == 1
    by_step = {row[0]: row for row in rows(result)}
    assert by_step["300"][1:3] == ["-", "-"]
    assert by_step["300"][-1] == by_step["600"][-1] == "damaged"
    assert by_step["200"][-1] == "best"
    assert by_step["500"][-1] == "newest"
    assert result.output.splitlines()[-2:] == [
        "step-00000300 is damaged: weights.bin differs from its manifest in size.",
        "step-00000600 has no manifest.json.",
    ]


def test_ls_of_checkpoints_without_a_retention_or_a_metric(tmp_path: Path) -> None:
    """A dash stands for a missing retention and a missing metric."""
    save(tmp_path, 0, None, small)
    assert [row[:3] + row[-1:] for row in rows(call("ls", tmp_path))][1] == ["0", "1", "-", "-"]


def test_ls_fits_a_terminal_of_80_columns(runs: Path) -> None:
    """On a narrow terminal long reasons wrap and nothing is cut; a wide one has one line per checkpoint."""
    save(runs, 12345, 0.123456, small, metric="val_sparse_categorical_accuracy", retention=RETENTION)
    narrow, wide = on_terminal(runs, 80), on_terminal(runs, 200)
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert "…" not in narrow
    assert len(wide.splitlines()) == 8
    assert "val_sparse_categorical_accuracy=0.123456" in wide
    plain = call("ls", runs).output
    assert [line.rstrip() for line in wide.splitlines()] == [line.rstrip() for line in plain.splitlines()]


def test_text_of_a_hostile_checkpoint_reaches_no_terminal(tmp_path: Path) -> None:
    """A metric's name is printed without control characters, and not in full if it is very long."""
    saved = save(tmp_path, files=small)
    forge(saved.path, metric="\x1b]0;owned\x07" + "x" * 1000, value=1.0, mode="min")
    result = call("ls", tmp_path)
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "x" * 100 not in result.output


@pytest.mark.parametrize("command", [["ls"], ["verify"], ["prune", "--keep-last", "1"]])
@pytest.mark.usefixtures("runs")
def test_a_directory_without_checkpoints_is_status_2(tmp_path: Path, command: list[str]) -> None:
    """A missing directory, an empty one, a file and a checkpoint itself are status 2, and nothing is made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in "nothing", "empty", "file", "runs/step-00000100":
        result = call(*command, tmp_path / name)
        assert result.exit_code == 2
        assert "holds no checkpoint" in result.output or "does not exist" in result.output or "is a file" in result.output
    assert "It is itself a checkpoint: give the directory that contains it." in result.output
    assert names(tmp_path) == ["empty", "file", "runs"]
    assert names(tmp_path / "empty") == []


def test_verify_reads_all(runs: Path) -> None:
    """Each checkpoint has a line, and the status is 1 even if only reading shows the damage."""
    assert call("verify", runs).exit_code == 0
    change_weights(runs, 300)
    assert call("ls", runs).exit_code == 0
    result = call("verify", runs)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) == 6
    assert lines[2] == "step-00000300 is damaged: weights.bin differs from its manifest."
    assert lines[0].startswith("step-00000100 is whole: ")


def test_verify_of_steps_looks_at_those_only(runs: Path) -> None:
    """Only the given steps are verified, and one that does not exist is a failure."""
    change_weights(runs, 300)
    result = call("verify", runs, 100, 600)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == ["step-00000100", "step-00000600"]
    assert call("verify", runs, 100, 300).exit_code == 1
    result = call("verify", runs, 7)
    assert (result.exit_code, result.output) == (1, "step-00000007 does not exist.\n")


def test_prune_keeps_what_the_options_name_and_prints_what_it_freed(runs: Path) -> None:
    """What none of the options keeps is removed, and the output has its size."""
    sizes = {path.name: sum(file.stat().st_size for file in path.iterdir()) for path in store.named(runs)}
    result = call("prune", runs, "--keep-last", 2, "--keep-every", 2)
    assert result.exit_code == 0
    assert names(runs) == [f"step-00000{step}00" for step in (2, 3, 4, 5, 6)]
    lines = result.output.splitlines()
    assert lines[0] == f"removed: step-00000100, {sizes['step-00000100']} B; epoch 1, val_loss=0.5"
    assert lines[2].endswith("; epoch 3, val_loss=0.125; best val_loss")
    assert lines[-1] == f"1 removed, freeing {sizes['step-00000100']} B."
    result = call("prune", runs, "--keep-best", 2)
    assert names(runs) == [f"step-00000{step}00" for step in (2, 3, 6)]
    assert result.output.splitlines()[-1].startswith("2 removed, freeing ")


def test_prune_without_an_option_is_refused(runs: Path) -> None:
    """Without an option that names what to keep, nothing is removed."""
    result = call("prune", runs)
    assert result.exit_code == 2
    assert "Give what to keep" in result.output
    assert call("prune", runs, "--keep-last", 0).exit_code == 2
    assert len(names(runs)) == 6


def test_a_dry_run_prints_the_same_and_does_nothing(runs: Path) -> None:
    """With --dry-run nothing changes, not even for a lock; without it, the same checkpoints are removed."""
    before = {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]}
    dry = call("prune", runs, "--keep-last", 1, "--dry-run")
    assert {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]} == before
    wet = call("prune", runs, "--keep-last", 1)
    assert wet.output == dry.output.replace("would be removed", "removed")
    assert names(runs) == ["step-00000300", "step-00000600"]


def test_the_newest_and_the_best_that_are_whole_are_never_removed(runs: Path) -> None:
    """Checkpoints are verified first: if the newest or the best is damaged, the next one that is whole stays."""
    change_weights(runs, 600)
    change_weights(runs, 300)
    result = call("prune", runs, "--keep-last", 1)
    assert result.exit_code == 0
    assert names(runs) == [f"step-00000{step}00" for step in (2, 3, 5, 6)]
    assert "left: step-00000300, " in result.output
    assert "it is damaged: weights.bin differs from its manifest." in result.output
    assert result.output.splitlines()[-1].endswith("Damaged, but not removed without --damaged: 2.")
    assert store.newest(runs).step == 500
    assert store.best(runs).step == 200


def test_damaged_checkpoints_are_removed_on_request(runs: Path) -> None:
    """`--damaged` removes and counts damaged checkpoints; alone, it removes nothing else."""
    cut_weights(runs, 600)
    (runs / "step-00000300" / "manifest.json").write_text("damaged")
    result = call("prune", runs, "--damaged")
    assert result.exit_code == 0
    assert names(runs) == [f"step-00000{step}00" for step in (1, 2, 4, 5)]
    assert "removed: step-00000300, " in result.output
    assert result.output.splitlines()[-1].startswith("2 removed, freeing ")


def test_prune_does_not_disturb_a_run_that_trains(runs: Path) -> None:
    """While another process holds the directory's lock, nothing is removed; afterwards the lock is free again."""
    code = "import sys; from pathlib import Path; from hookcore import store; held = store.lock(Path(sys.argv[1]))"
    code += "; print('locked'); sys.stdout.flush(); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(runs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trains:
        assert trains.stdout is not None
        assert trains.stdout.readline() == "locked\n"
        result = call("prune", runs, "--keep-last", 1)
        assert result.exit_code == 1
        assert f"held by process {trains.pid}" in result.output
        assert len(store.named(runs)) == 6
        assert call("prune", runs, "--keep-last", 1, "--dry-run").exit_code == 0
        trains.communicate()
    assert call("prune", runs, "--keep-last", 1).exit_code == 0
    assert names(runs) == ["step-00000300", "step-00000600"]


def test_prune_that_fails_is_status_1(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that cannot be removed is an error of one line, without a traceback, and the lock is released."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    result = call("prune", runs, "--keep-last", 1)
    assert result.exit_code == 1
    assert f"Error: The checkpoint {runs}/step-00000100 cannot be removed: Permission denied." in result.output
    assert not (runs / ".lock").exists()


HOSTILE = "\x1b]0;title\x07\x1b[2J" + "a" * 1_000_000


@pytest.mark.parametrize("command", ["ls", "verify", "prune --keep-last 1", "prune --keep-last 1 --dry-run"])
def test_a_metric_s_name_cannot_write_to_the_terminal(tmp_path: Path, command: str) -> None:
    """A metric's name, which may be any text, is printed without control characters and shortened, by every command."""
    for step in (1, 2):
        save(tmp_path, step, 1 / step, small, metric=HOSTILE, retention=RETENTION)
    name, *options = command.split()
    result = call(name, tmp_path, *options)
    assert result.exit_code == 0
    assert all(letter.isprintable() or letter == "\n" for letter in result.output)
    assert len(result.output) < 2000


@pytest.mark.parametrize("when", [1e12, -1e12, 1e30, math.nan])
def test_a_time_that_no_calendar_has_is_left_out(runs: Path, monkeypatch: pytest.MonkeyPatch, when: float) -> None:
    """A time that no calendar has is a dash. It is mocked, because not every file system can hold one."""
    with monkeypatch.context() as patch:
        patch.setattr(type(runs), "lstat", lambda _: SimpleNamespace(st_mtime=when))
        assert checkpoints._saved(runs) == "-"


def test_directories_nested_beyond_every_limit_are_a_damaged_checkpoint(runs: Path) -> None:
    """Such a checkpoint is listed as damaged, and saving and pruning beside it work."""
    deep = os.open(runs / "step-00000100", os.O_RDONLY)
    for _ in range(2000):  # deeper than a path can be long
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert call("ls", runs).exit_code == 1
    result = call("verify", runs)
    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith("step-00000100 cannot be read: ")
    assert call("prune", runs, "--keep-last", 1).exit_code == 0
    save(runs, 700, 0.1, small)
    assert store.newest(runs).step == 700
    subprocess.run(["/bin/rm", "-rf", str(runs)], check=True)  # shutil.rmtree cannot


@pytest.mark.parametrize("command", [["checkpoints", "ls"], ["checkpoints", "verify"], ["checkpoints", "prune", "--damaged"]])
def test_a_standard_output_that_is_full_is_an_error_of_one_line(runs: Path, command: list[str]) -> None:
    """If the standard output is full, there is one line and no traceback, and the exit status is 1."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from hookcore.cli.main import main; main()"
    with (runs.parent / "output").open("wb") as output:
        called = [sys.executable, "-c", code, *command[:2], str(runs), *command[2:]]
        done = subprocess.run(called, check=False, stdout=output, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: The standard output cannot be written to: File too large.\n")


def test_a_standard_output_that_is_closed_is_no_error(runs: Path) -> None:
    """Without a standard output, the commands print nothing, and the exit status tells the result."""
    for command, status in (("ls", 0), ("verify", 0)):
        code = f"{sys.executable} -c 'from hookcore.cli.main import main; main()' checkpoints {command} {runs} >&-"
        done = subprocess.run(["/bin/sh", "-c", code], check=False, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (status, "")


def test_best_names_the_best(runs: Path) -> None:
    """The output has the best checkpoint and its value; with --path, only its path, for a script."""
    result = call("best", runs)
    assert (result.exit_code, result.output.split(",")[:2]) == (0, ["step-00000300: epoch 3", " val_loss=0.125"])
    assert call("best", runs, "--path").output == f"{runs / 'step-00000300'}\n"


def test_best_skips_damaged_checkpoints(runs: Path) -> None:
    """The next best is used if the best is damaged; the status is 1 if all are damaged, and 2 if there is no checkpoint."""
    change_weights(runs, 300)
    assert call("best", runs, "--path").stdout == f"{runs / 'step-00000200'}\n"
    for step in (100, 200, 500, 600):
        change_weights(runs, step)
    assert call("best", runs, "--path").exit_code == 1
    (runs.parent / "empty").mkdir()
    assert call("best", runs.parent / "empty").exit_code == 2
