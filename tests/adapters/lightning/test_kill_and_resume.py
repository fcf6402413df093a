"""examples/kill_and_resume.py with the README's samples for PyTorch and Lightning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "kill_and_resume.py"


@pytest.mark.parametrize("framework", ["torch", "lightning"])
def test_the_readmes_sample_ends_the_same_after_a_kill(framework: str) -> None:
    """The sample is killed within an epoch, and its last checkpoint equals that of a run that was never killed."""
    done = subprocess.run([sys.executable, SCRIPT, framework], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the newest checkpoint is of epoch 5, batch" in done.stdout
    assert f"\nresumed from runs/{framework}/step-" in done.stdout
