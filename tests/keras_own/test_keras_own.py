"""Keras's own callback tests, from its wheel, against the drop-in callbacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.keras_own.substitute import TESTED

HERE = Path(__file__).parent


def test_keras_own_tests_pass_with_the_drop_ins() -> None:
    """Every test of Keras's callbacks passes with the drop-ins, except for the deliberate differences."""
    modules = [f"keras.src.callbacks.{name}_test" for name in TESTED]
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "-p", "substitute", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    done = subprocess.run([*command, "--pyargs", *modules], env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)  # noqa: T201 - the numbers of instances
    assert done.returncode == 0, done.stdout + done.stderr
