"""What the import says if something that the adapter needs is missing, or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugins.tensorboard.event_files import with_tests

IMPORT = """
import sys
sys.modules[{missing!r}] = None
import hookcore_adapters.sklearn
"""


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("skops", "skops")])
def test_a_missing_package_is_named_with_the_extra(module: str, package: str) -> None:
    """In one line that can be pasted."""
    code = IMPORT.format(missing=module)
    done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"needs {package}, which is not installed" in done.stderr
    assert "pip install 'hookcore[sklearn]'" in done.stderr


def test_an_older_scikit_learn_is_refused() -> None:
    """The error names both versions and what to install."""
    code = "import sklearn; sklearn.__version__ = '1.4.2'; import hookcore_adapters.sklearn"
    done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True, check=False)
    assert "needs scikit-learn 1.5 or newer, and 1.4.2 is installed: pip install 'hookcore[sklearn]'." in done.stderr
