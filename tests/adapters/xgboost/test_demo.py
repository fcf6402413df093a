"""`hookcore demo --framework xgboost`, as a process."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from hookcore import store
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo"]


def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """Three epochs end with status 0, and XGBoost itself loads the best checkpoint and finds the recorded value."""
    out = tmp_path / "demo"
    command = [*COMMAND, "--framework", "xgboost", "--out", str(out), "--epochs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    best = store.best(out / "checkpoints")
    assert str(best.path / "model.ubj") in done.stdout
    with (out / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert best.value == min(float(row["val-loss"]) for row in rows)


def test_the_demo_without_xgboost_names_what_to_install(tmp_path: Path) -> None:
    """Without XGBoost, the demo ends with status 1 and one line that names what to install."""
    (tmp_path / "xgboost.py").write_text("raise ImportError('No module named xgboost', name='xgboost')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [*COMMAND, "--framework", "xgboost", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: The demo needs xgboost: pip install 'hookcore[xgboost]' scikit-learn"]
    assert not (tmp_path / "demo").exists()
