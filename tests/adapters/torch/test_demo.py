"""`hookcore demo --all` and `--framework` with the frameworks that need PyTorch, as a process."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hookcore import store
from hookcore_adapters.demo.frameworks import FRAMEWORKS
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

DEMO = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo"]
COMMAND = [*DEMO, "--framework"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Train two epochs in each installed framework, and return the directory and the output."""
    out = tmp_path_factory.mktemp("demo")
    command = [*DEMO, "--all", "--out", str(out), "--epochs", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # more threads would wait for each other
    return out, subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * PATIENCE, env=environment)


def test_the_demo_trains_with_each_framework(everything: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The demo ends with status 0 and a table with a row for each trained framework, with the same plugins."""
    _, done = everything
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT" not in done.stdout
    table = done.stdout.rpartition("framework ")[2]
    trained = [line.split()[0] for line in table.splitlines() if "equal to it" in line]
    untrained = [line.split()[0] for line in table.splitlines() if " was not trained. " in line]
    assert {"torch", "lightning", "transformers"} <= set(trained)
    assert sorted(trained + untrained) == sorted(FRAMEWORKS)


@pytest.mark.parametrize("framework", ["torch", "lightning", "transformers"])
def test_the_demo_verifies_its_best_checkpoint(framework: str, everything: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The best checkpoint, loaded by the framework, has the recorded score, and standard error has only missing libraries."""
    out, done = everything
    sections = re.split(r"^(\w+) \(\d+ of \d+\)$", done.stdout, flags=re.MULTILINE)
    printed = sections[sections.index(framework) + 1]
    assert "equal to it" in printed
    assert all(line.startswith("Error: The demo needs ") for line in done.stderr.splitlines()), done.stderr
    best = store.best(out / framework / "checkpoints")
    assert str(best.path) in printed
    with (out / framework / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert best.value == min(float(row[f"{best.metric}"]) for row in rows)


@pytest.mark.parametrize(
    ("framework", "missing", "install"),
    [
        ("torch", "torch", "'hookcore[torch]' scikit-learn"),
        ("torch", "safetensors", "'hookcore[torch]' scikit-learn"),
        ("lightning", "lightning", "'hookcore[lightning]' scikit-learn"),
        ("transformers", "transformers", "'hookcore[transformers]' scikit-learn"),
    ],
)
def test_the_demo_without_its_framework_names_what_to_install(tmp_path: Path, framework: str, missing: str, install: str) -> None:
    """Without its framework, the demo ends with status 1 and one line that names what to install."""
    (tmp_path / f"{missing}.py").write_text(f"raise ImportError('No module named {missing}', name='{missing}')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [*COMMAND, framework, "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"Error: The demo needs {missing}: pip install {install}"]
    assert not (tmp_path / "demo").exists()
