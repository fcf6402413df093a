"""What the import says if something that the adapter needs is missing, or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hookcore_adapters.torch import installed
from hookcore_adapters.versions import check_version
from tests.plugins.tensorboard.event_files import with_tests

IMPORT = """
import sys
sys.modules[{missing!r}] = None
import hookcore_adapters.torch
"""


@pytest.mark.parametrize("missing", ["torch", "safetensors", "numpy"])
def test_a_missing_package_is_named_with_the_extra(missing: str) -> None:
    """In one line that can be pasted."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(missing=missing)], env=with_tests(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"hookcore_adapters.torch needs torch, safetensors, numpy, and {missing} is missing" in done.stderr
    assert "pip install 'hookcore[torch]'" in done.stderr


def test_an_older_pytorch_is_refused() -> None:
    """By both versions."""
    with pytest.raises(ImportError, match=r"needs PyTorch 2\.9 or newer, and PyTorch 2.8.1\+cpu is installed"):
        check_version("2.8.1+cpu", installed.FLOOR, adapter="torch", name="PyTorch")
    check_version("2.10.0", installed.FLOOR, adapter="torch", name="PyTorch")


def test_the_loop_knows_no_pytorch() -> None:
    """Nor does the engine, or a plugin."""
    code = "import sys, hookcore, hookcore_plugins, hookcore_adapters.loop; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=with_tests(), check=True)
