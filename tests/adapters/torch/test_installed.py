"""Importing the PyTorch adapter if a library that it needs is missing or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugins.tensorboard.event_files import with_tests

IMPORT = """
import sys
sys.modules[{missing!r}] = None
import hookcore_adapters.torch
"""


@pytest.mark.parametrize(("missing", "named"), [("torch", "PyTorch"), ("safetensors", "safetensors"), ("numpy", "numpy")])
def test_a_missing_package_is_named_with_the_extra(missing: str, named: str) -> None:
    """The error names what is missing and the command that installs it."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(missing=missing)], env=with_tests(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"The adapter for PyTorch needs {named}, which is not installed" in done.stderr
    assert "pip install 'hookcore[torch]'" in done.stderr


def test_an_older_pytorch_is_refused() -> None:
    """The error names both versions."""
    code = "import torch; torch.__version__ = '2.8.1+cpu'; import hookcore_adapters.torch"
    done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True, check=False)
    assert "needs PyTorch 2.9 or newer, and 2.8.1+cpu is installed" in done.stderr


def test_the_loop_knows_no_pytorch() -> None:
    """The engine, the plugins and `Loop` do not import PyTorch."""
    code = "import sys, hookcore, hookcore_plugins, hookcore_adapters.loop; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=with_tests(), check=True)
