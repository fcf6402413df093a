"""Scripts as in tutorials, killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

SCRIPTS = Path(__file__).parent / "scripts"
LINES = {"text_classification": 17, "causal_lm": 11, "custom_loss": 12}
"""The number of logs after which a script is killed."""


def run(script: str, directory: Path, how: str, end: str, kill_after: int | None = None) -> int:
    """Run a script that saves its model in `end`, kill it after `kill_after` logs, and return its exit status."""
    path = SCRIPTS / f"{script}.py"
    code = (
        f"import runpy, sys; sys.argv[1:] = {[str(directory), how]!r}; made = runpy.run_path({str(path)!r}); "
        f"made['trainer'].save_model({end!r}); print('OUTCOME', made['adapter'].run.outcome, list(made['adapter'].run.history))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    logs = 0
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            logs += line.startswith("{")
            if logs == kill_after:
                process.kill()
                break
    return process.returncode


@pytest.mark.parametrize(
    ("script", "how"),
    [("text_classification", "own"), ("text_classification", "ours"), ("causal_lm", "ours"), ("custom_loss", "own")],
)
def test_a_script_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path, script: str, how: str) -> None:
    """A script that is killed by SIGKILL and started again ends with the same weights, bit for bit."""
    assert run(script, tmp_path / "whole", how, str(tmp_path / "expected")) == 0
    assert run(script, tmp_path / "killed", how, str(tmp_path / "found"), kill_after=LINES[script]) < 0
    assert run(script, tmp_path / "killed", how, str(tmp_path / "found")) == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("expected", "found"))
    assert {name: value.tolist() for name, value in found.items()} == {name: value.tolist() for name, value in expected.items()}
