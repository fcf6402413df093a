"""The kill tests print how many processes they killed."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if importlib.util.find_spec("keras") is None:
    collect_ignore_glob = ["test_keras*.py"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the number of kills for each kind of moment."""
    lives: Any = sys.modules.get("tests.kill.lives")
    if lives is not None:
        listed = ", ".join(f"{number} {moment}" for moment, number in sorted(lives.kills.items()) if number)
        terminalreporter.section(f"{lives.kills.total()} processes killed")
        terminalreporter.line(listed or "none")
