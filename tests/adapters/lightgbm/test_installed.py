"""What importing the LightGBM adapter says if LightGBM is missing or too old."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hookcore_adapters.lightgbm.installed import FLOOR
from tests.patience import PATIENCE

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
TOO_OLD = (
    f"ImportError: The adapter for LightGBM needs LightGBM {FLOOR} or newer, and 3.3.5 is installed: "
    "pip install 'hookcore[lightgbm]'."
)


@pytest.mark.parametrize(
    ("lightgbm", "said"),
    [
        (
            "raise ModuleNotFoundError('No module named lightgbm', name='lightgbm')",
            "ImportError: The adapter for LightGBM needs LightGBM, which is not installed: pip install 'hookcore[lightgbm]'.",
        ),
        (
            "__version__ = '3.3.5'",
            TOO_OLD,
        ),
    ],
)
def test_what_is_missing_or_too_old_is_named(lightgbm: str, said: str, tmp_path: Path) -> None:
    """The import is an error that names the extra, or both versions."""
    (tmp_path / "lightgbm.py").write_text(lightgbm)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", "import hookcore_adapters.lightgbm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == said


def test_the_floor_is_that_of_the_extra() -> None:
    """What pip is asked for is what the import accepts."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert any(needed.startswith(f"lightgbm>={FLOOR}") for needed in extras["lightgbm"])
