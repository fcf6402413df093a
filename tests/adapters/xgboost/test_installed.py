"""What importing the XGBoost adapter says if XGBoost is missing or too old."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from hookcore_adapters.xgboost.installed import FLOOR
from tests.patience import PATIENCE

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def importing(tmp_path: Path, xgboost: str) -> str:
    """Return the last line of the error if the adapter is imported with this code as `xgboost`."""
    (tmp_path / "xgboost.py").write_text(xgboost)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", "import hookcore_adapters.xgboost"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_without_xgboost_the_extra_is_named(tmp_path: Path) -> None:
    """Without XGBoost the import is an error that names the extra, and the package without libraries for a GPU."""
    assert importing(tmp_path, "raise ModuleNotFoundError('No module named xgboost', name='xgboost')") == (
        "ImportError: The adapter for XGBoost needs XGBoost, which is not installed: pip install 'hookcore[xgboost]'. "
        "Without a GPU, the smaller package xgboost-cpu brings the same module."
    )


def test_an_xgboost_that_is_too_old_is_named(tmp_path: Path) -> None:
    """An XGBoost before the floor is an error that names both versions, and how to get a newer one."""
    assert importing(tmp_path, "__version__ = '2.1.4'") == (
        f"ImportError: The adapter for XGBoost needs XGBoost {FLOOR} or newer, and 2.1.4 is installed: "
        "pip install 'hookcore[xgboost]'."
    )


def test_the_floor_is_that_of_the_extra() -> None:
    """What pip is asked for is what the import accepts."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert f"xgboost>={FLOOR}" in extras["xgboost"]
