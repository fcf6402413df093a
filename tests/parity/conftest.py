"""Skip the parity tests without Keras, print the number of comparisons, and fail if there were too few."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if importlib.util.find_spec("keras") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a property ran too few examples."""
    protocol: Any = sys.modules.get("tests.parity.protocol")
    if protocol is not None and any(count < protocol.EXAMPLES for count in protocol.ran.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the numbers of instances of each drop-in, and of examples compared with Keras's callback."""
    protocol: Any = sys.modules.get("tests.parity.protocol")
    if protocol is None:
        return
    terminalreporter.section(f"parity with the callbacks of Keras {protocol.keras.__version__}")
    for name, count in sorted(protocol.built.items()):
        terminalreporter.line(f"{count:6} built, {protocol.ran[name]:6} examples compared: {name}")
