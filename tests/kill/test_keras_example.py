"""examples/kill_and_resume.py, which makes the README's pictures, with the README's sample for Keras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "kill_and_resume.py"


def test_the_readmes_sample_ends_the_same_after_a_kill(tmp_path: Path) -> None:
    """The sample is killed within an epoch, its last checkpoint equals that of an uncut run, and both runs are drawn."""
    done = subprocess.run([sys.executable, SCRIPT, "keras", "--pictures", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the newest checkpoint is of epoch 5, batch" in done.stdout
    assert "\nresumed from runs/keras/step-" in done.stdout
    for name in ("kill-and-resume.svg", "kill-and-resume-curves.svg"):
        picture = (tmp_path / name).read_text()
        assert "</svg>" in picture
        assert "@font-face" not in picture
