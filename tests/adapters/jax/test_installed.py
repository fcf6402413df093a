"""What the import says if something that the adapter needs is missing, or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugins.tensorboard.event_files import with_tests

IMPORT = """
import sys
sys.modules[{missing!r}] = None
import hookcore_adapters.jax
"""


@pytest.mark.parametrize(("missing", "named"), [("jax", "JAX"), ("safetensors", "safetensors")])
def test_a_missing_package_is_named_with_the_extra(missing: str, named: str) -> None:
    """In one line that can be pasted."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(missing=missing)], env=with_tests(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"The adapter for JAX needs {named}, which is not installed" in done.stderr
    assert "pip install 'hookcore[jax]'" in done.stderr


def test_an_older_jax_is_refused() -> None:
    """The error names both versions."""
    code = "import jax; jax.__version__ = '0.7.2'; import hookcore_adapters.jax"
    done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True, check=False)
    assert "needs JAX 0.8 or newer, and 0.7.2 is installed" in done.stderr


def test_the_loop_knows_no_jax() -> None:
    """Nor does the engine, or a plugin."""
    code = "import sys, hookcore, hookcore_plugins, hookcore_adapters.loop; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=with_tests(), check=True)
