"""`hookcore report RUN --watch` follows a run until its end."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hookcore.cli.main import main
from hookcore.store import is_locked
from hookcore_adapters.loop import Loop
from hookcore_plugins import Report, RunReport
from hookcore_plugins.report import watch as watch_module
from hookcore_plugins.report.watch import watch
from tests.plugins.report.reporting import Clock
from tests.plugins.report.test_command import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def test_a_live_run_is_followed_to_its_end(tmp_path: Path) -> None:
    """Each observation becomes a line, once; the page loads itself again until the run has ended; then comes the summary."""
    page, stream, clock, pages = tmp_path / "page.html", io.StringIO(), Clock(), []
    loop = Loop([Report(tmp_path, interval=0, summary=False)], epochs=3)

    def train(seconds: float) -> None:
        clock.now += 5 * seconds
        pages.append(page.read_text())
        if next(epochs, None) is None:
            loop.__exit__(None, None, None)
        else:
            loop.log({"loss": 0.5, "acc": 1.0})

    with loop:
        epochs = iter(loop.epochs())
        report = watch(tmp_path, page, stream, sleep=train, clock=clock)
    assert report.status == "completed"
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.startswith("epoch ")] == [
        f"epoch {epoch}: loss 0.5000, acc 1.0000" for epoch in (1, 2, 3)
    ]
    assert f"{tmp_path}: completed" in lines
    assert all('http-equiv="refresh" content="5"' in text for text in pages)
    assert "refresh" not in page.read_text()


def test_a_value_that_is_nan_is_shown(tmp_path: Path) -> None:
    """A value of NaN is shown, and a metric that an observation lacks is not."""
    stream = io.StringIO()
    with Loop([Report(tmp_path, interval=0, summary=False)], epochs=2) as loop:
        for epoch in loop.epochs():
            loop.log({"loss": math.nan} if epoch == 0 else {"acc": 1.0})
    watch(tmp_path, stream=stream)
    assert stream.getvalue().splitlines()[:2] == ["epoch 1: loss nan", "epoch 2: acc 1.0000"]


@pytest.mark.parametrize("reads", [True, False])
def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reads: bool
) -> None:
    """If the run writes its end after the record was read and before its lock is checked, the end counts."""
    loop = Loop([Report(tmp_path, interval=0, summary=False)], epochs=1)

    def ends(path: Path) -> bool | None:
        loop.__exit__(None, None, None)
        return is_locked(path)

    with loop:
        for _ in loop.epochs():
            loop.log(loss=0.5)
            report = RunReport.read(tmp_path)
        assert report.status == "running"
        monkeypatch.setattr("hookcore.store.is_locked", ends)
        assert (RunReport.read(tmp_path) if reads else watch_module._newer(report)).status == "completed"


def test_in_a_terminal_the_summary_stays_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows the summary alone, and the only control characters are those that replace it."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Loop([Report(tmp_path, summary=False, config={"\x1b[31mred": "\x9b2J"})], epochs=1) as loop:
        for _ in loop.epochs():
            loop.log(loss=0.5)
    stream = Terminal()
    watch(tmp_path, stream=stream)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "completed" in text
    assert not {"\x1b", "\x9b"} & {*text}


def test_a_killed_run_is_told_from_a_live_one(tmp_path: Path) -> None:
    """A live run is one whose process holds the lock of the file, as other processes see; a killed process holds none."""
    script = (
        "import sys\nfrom hookcore_adapters.loop import Loop\nfrom hookcore_plugins import Report\n"
        "with Loop([Report(sys.argv[1], summary=False)], epochs=9) as loop:\n"
        "    for _ in loop.epochs():\n        loop.log(loss=1.0)\n        print('ready', flush=True)\n        sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_locked(tmp_path / "run.json") is True
        text = CliRunner().invoke(main, ["report", str(tmp_path)]).output
        assert text.startswith(f"{tmp_path}: running\n")
        assert re.search(r"^report +\S+run.json, written [\d.]+s ago$", text, re.MULTILINE)
        process.kill()
    assert is_locked(tmp_path / "run.json") is False
    result = CliRunner().invoke(main, ["report", str(tmp_path), "--watch"])
    assert result.exit_code == 1
    assert f"{tmp_path}: killed\nwhy           it was killed" in result.output
    written = datetime.fromtimestamp((tmp_path / "run.json").stat().st_mtime, UTC).astimezone()
    assert f"; this is its latest record, written at {written:%Y-%m-%d %H:%M:%S}\n" in result.output
    assert " ago" not in result.output
    assert is_locked(tmp_path / "none.json") is None
    assert is_locked(tmp_path) is None
