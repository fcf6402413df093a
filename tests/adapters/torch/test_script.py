"""A script that is killed again and again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE

SCRIPT = Path(__file__).with_name("script.py")


def run(directory: Path, kill_at: int = 0) -> int:
    directory.mkdir(exist_ok=True)
    command = [sys.executable, str(SCRIPT), str(kill_at)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


def test_a_script_that_is_killed_and_started_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """A script with workers, a scheduler and dropout that is killed in each epoch ends with the same weights and log."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole) == 0
    for batch in (5, 14, 28):
        assert run(killed, batch) == -signal.SIGKILL
    assert run(killed) == 0
    for name in ("end.txt", "log.csv"):
        assert (killed / name).read_text() == (whole / name).read_text()
