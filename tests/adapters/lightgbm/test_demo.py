"""`hookcore demo --framework lightgbm`, as a process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hookcore import store
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo"]


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits are scikit-learn's")
def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """Three iterations end with status 0, and LightGBM itself loads the best checkpoint and finds the recorded value."""
    command = [*COMMAND, "--framework", "lightgbm", "--out", str(tmp_path / "demo"), "--epochs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    assert str(store.best(tmp_path / "demo" / "checkpoints").path / "model.txt") in done.stdout


def test_the_demo_without_lightgbm_names_what_to_install(tmp_path: Path) -> None:
    """Without LightGBM, the demo ends with status 1 and one line that names what to install."""
    (tmp_path / "lightgbm.py").write_text("raise ImportError('No module named lightgbm', name='lightgbm')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [*COMMAND, "--framework", "lightgbm", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 1
    assert done.stderr == "Error: The demo needs lightgbm: pip install 'hookcore[lightgbm]' scikit-learn\n"
