"""`hookcore demo`, as a process: what it leaves behind, Ctrl-C in the middle, and what it says where Keras is missing."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import keras
import pytest

from hookcore import store
from hookcore_adapters.keras import MODEL_FILE

if TYPE_CHECKING:
    from pathlib import Path

needs_digits = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the demo trains on scikit-learn's digits")

COMMAND = [sys.executable, "-c", "from hookcore.cli import main; main(prog_name='hookcore')", "demo"]


@needs_digits
def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """Three epochs end with status 0, with the best checkpoint equal to what was recorded, and with the files that it names."""
    out = tmp_path / "demo"
    done = subprocess.run([*COMMAND, "--out", out, "--epochs", "3"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    assert "\b" not in done.stdout, "Keras's own progress bar is replaced"
    best = store.best(out / "checkpoints")
    assert str(best.path / MODEL_FILE) in done.stdout
    with (out / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert best.value == min(float(row["val_loss"]) for row in rows)


@needs_digits
def test_ctrl_c_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends with status 130, says so, and the newest checkpoint verifies and loads."""
    out = tmp_path / "demo"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, "--out", out, "--epochs", "500"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "val_loss" in line:  # an epoch is done, and many are left
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    text = "".join(lines) + rest
    assert process.returncode == 130, text
    assert "interrupted" in rest
    assert "Traceback" not in text
    newest = store.newest(out / "checkpoints")
    model = keras.models.load_model(newest.path / MODEL_FILE)
    assert int(model.optimizer.iterations) == newest.step


def test_the_demo_without_keras_names_the_extra(tmp_path: Path) -> None:
    """Where Keras cannot be imported, the demo ends with status 1 and one line that says what to install."""
    (tmp_path / "keras.py").write_text("raise ImportError('No module named keras', name='keras')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "--out", tmp_path / "demo"], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: The demo needs keras: pip install 'hookcore[demo]'"]
    assert not (tmp_path / "demo").exists()


def test_importing_the_adapter_without_keras_names_the_extra(tmp_path: Path) -> None:
    """Where Keras cannot be imported, importing its adapter is an ImportError that says what to install."""
    (tmp_path / "keras.py").write_text("raise ImportError('No module named keras', name='keras')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import hookcore_adapters.keras"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 1
    assert "pip install 'hookcore[keras]'" in done.stderr.splitlines()[-1]
