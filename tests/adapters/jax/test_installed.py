"""What the import says if something that the adapter needs is missing, or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hookcore_adapters.jax import installed
from hookcore_adapters.versions import check_version
from tests.plugins.tensorboard.event_files import with_tests

IMPORT = """
import sys
sys.modules[{missing!r}] = None
import hookcore_adapters.jax
"""


@pytest.mark.parametrize("missing", ["jax", "safetensors"])
def test_a_missing_package_is_named_with_the_extra(missing: str) -> None:
    """In one line that can be pasted."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(missing=missing)], env=with_tests(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"hookcore_adapters.jax needs jax, jaxlib, safetensors, numpy, and {missing} is missing" in done.stderr
    assert "pip install 'hookcore[jax]'" in done.stderr


def test_an_older_jax_is_refused() -> None:
    """By both versions."""
    with pytest.raises(ImportError, match=r"needs JAX 0\.8 or newer, and JAX 0.7.2 is installed"):
        check_version("0.7.2", installed.FLOOR, adapter="jax", name="JAX")
    check_version("0.10.2", installed.FLOOR, adapter="jax", name="JAX")


def test_the_loop_knows_no_jax() -> None:
    """Nor does the engine, or a plugin."""
    code = "import sys, hookcore, hookcore_plugins, hookcore_adapters.loop; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=with_tests(), check=True)
