"""Importing the Lightning adapter if Lightning is missing or too old."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from hookcore_adapters.lightning.installed import FLOOR
from tests.patience import PATIENCE

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def importing(tmp_path: Path, lightning: str) -> str:
    """Return the last line of the error of importing the adapter, with `lightning` as the code of `lightning.pytorch`."""
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").touch()
    (tmp_path / "lightning" / "pytorch.py").write_text(lightning)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", "import hookcore_adapters.lightning"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_without_lightning_the_extra_is_named(tmp_path: Path) -> None:
    """Without Lightning, the error names the extra, and pytorch_lightning, which is another package."""
    message = importing(tmp_path, "raise ModuleNotFoundError('No module named lightning', name='lightning')")
    assert message.startswith(
        "ImportError: The adapter for Lightning needs Lightning, which is not installed: pip install 'hookcore[lightning]'."
    )
    assert "pytorch_lightning" in message


def test_a_lightning_that_is_too_old_is_named(tmp_path: Path) -> None:
    """An older Lightning is an error that names both versions and the command to install a newer one."""
    assert importing(tmp_path, "__version__ = '2.4.0'") == (
        f"ImportError: The adapter for Lightning needs Lightning {FLOOR} or newer, and 2.4.0 is installed: "
        "pip install 'hookcore[lightning]'."
    )


def test_the_floor_is_that_of_the_extra() -> None:
    """The extra asks pip for the oldest version that the import accepts."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert f"lightning>={FLOOR}" in extras["lightning"]
