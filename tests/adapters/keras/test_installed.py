"""Importing the Keras adapter if Keras is missing or too old, or its backend is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hookcore_adapters.keras.installed import BACKENDS, FLOOR
from tests.patience import PATIENCE

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def importing(tmp_path: Path, keras: str, *, backend: str | None = None, installed: str = "") -> str:
    """Return the last line of the error of importing the adapter, with this code as Keras and only this backend installed."""
    (tmp_path / "keras.py").write_text(keras)
    found = f"find = lambda name, *_: True if name == {installed!r} else None if name in {BACKENDS} else original(name, *_)"
    code = f"import importlib.util as u; original = u.find_spec; {found}; u.find_spec = find; import hookcore_adapters.keras"
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"KERAS_BACKEND": backend} if backend else {}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_without_keras_the_extras_are_named(tmp_path: Path) -> None:
    """Without Keras, importing the adapter is an error that names the extras of Keras and of a backend."""
    message = importing(tmp_path, "raise ModuleNotFoundError('No module named keras', name='keras')")
    assert message.startswith("ImportError: The adapter for Keras needs Keras, which is not installed")
    assert "pip install 'hookcore[keras,tensorflow]'" in message


@pytest.mark.parametrize("version", ["2.15.0", "3.11.3"])
def test_a_keras_that_is_too_old_is_named(tmp_path: Path, version: str) -> None:
    """An older Keras is an error that names both versions and the command to install a newer one."""
    message = importing(tmp_path, f"__version__ = {version!r}")
    assert message == (
        f"ImportError: The adapter for Keras needs Keras {FLOOR} or newer, and {version} is installed: "
        "pip install 'hookcore[keras,tensorflow]'."
    )


@pytest.mark.parametrize("backend", [None, "tensorflow"])
def test_a_backend_that_is_not_installed_is_named(tmp_path: Path, backend: str | None) -> None:
    """Without Keras's backend, the error names it, what chose it, the installed backends, and two solutions."""
    missing = "raise ModuleNotFoundError('No module named tensorflow', name='tensorflow')"
    message = importing(tmp_path, missing, backend=backend, installed="jax")
    assert "Keras's backend tensorflow is not installed" in message
    assert ("KERAS_BACKEND=tensorflow chooses it" if backend else "KERAS_BACKEND is unset") in message
    assert message.endswith(
        "installed: jax. Set KERAS_BACKEND=jax before Keras is imported, or pip install 'hookcore[keras,tensorflow]'."
    )


def test_if_no_backend_is_installed_its_extra_is_named(tmp_path: Path) -> None:
    """If no backend is installed, the error says how to install the chosen one."""
    message = importing(tmp_path, "raise ModuleNotFoundError('No module named jax', name='jax')", backend="jax")
    assert message.endswith("installed: none. To have it, pip install 'hookcore[keras,jax]'.")


def test_another_error_of_keras_stays_as_it_is(tmp_path: Path) -> None:
    """If the import of Keras fails for another reason, its own error is raised."""
    message = importing(tmp_path, "raise ModuleNotFoundError('No module named h5py', name='h5py')")
    assert message == "ModuleNotFoundError: No module named h5py"


def test_the_extras_are_those_that_the_import_names() -> None:
    """The extra `keras` has the floor of the import and no backend, and each backend is a separate extra."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert extras["keras"] == [f"keras>={FLOOR}"]
    for backend in BACKENDS:  # PyTorch's extra also has what its adapter needs
        assert backend in [one.partition(">=")[0] for one in extras[backend]]
