"""`hookcore demo --framework sklearn`, as a process that trains on real digits."""

from __future__ import annotations

import csv
import subprocess
import sys
from typing import TYPE_CHECKING

from hookcore import store
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main()", "demo", "--framework", "sklearn"]


def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """Three epochs end with status 0, and skops loads the best checkpoint and finds the recorded value."""
    out = tmp_path / "demo"
    command = [*COMMAND, "--out", str(out), "--epochs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    best = store.best(out / "checkpoints")
    with (out / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert best.value == min(float(row["val_loss"]) for row in rows)
