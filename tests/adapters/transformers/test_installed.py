"""Importing the Transformers adapter if a library that it needs is missing or too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugins.tensorboard.event_files import with_tests


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("import transformers; transformers.__version__ = '4.57.1'", "Transformers 5.0 or newer, and 4.57.1 is installed"),
        ("import sys; sys.modules['transformers'] = None", "Transformers, which is not installed"),
        ("import sys; sys.modules['accelerate'] = None", "accelerate, which is not installed"),
    ],
)
def test_a_missing_or_old_library_is_named_with_the_extra(change: str, problem: str) -> None:
    """The error names the library and the command that installs it."""
    code = f"{change}; import hookcore_adapters.transformers"
    done = subprocess.run([sys.executable, "-c", code], env=with_tests(), capture_output=True, text=True, check=False)
    assert f"The adapter for Transformers needs {problem}: pip install 'hookcore[transformers]'." in done.stderr
