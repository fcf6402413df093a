"""`hookcore demo --framework jax`, as a process."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hookcore import store
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo", "--framework", "jax"]


def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """Two epochs end with status 0, and safetensors loads the best checkpoint and finds the recorded value."""
    pytest.importorskip("sklearn", reason="the demo trains on scikit-learn's digits")
    out = tmp_path / "demo"
    command = [*COMMAND, "--out", str(out), "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    best = store.best(out / "checkpoints")
    with (out / "metrics.csv").open() as lines:
        assert best.value == min(float(row["val_loss"]) for row in csv.DictReader(lines))


@pytest.mark.parametrize("missing", ["jax", "optax", "safetensors"])
def test_the_demo_without_a_package_names_what_to_install(tmp_path: Path, missing: str) -> None:
    """If a package is missing, the demo ends with status 1 and one line that names what to install."""
    (tmp_path / f"{missing}.py").write_text(f"raise ImportError('No module named {missing}', name='{missing}')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [*COMMAND, "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"Error: The demo needs {missing}: pip install 'hookcore[jax]' optax scikit-learn"]
    assert not (tmp_path / "demo").exists()
