"""Settings for all tests: Hypothesis profiles, Ctrl-C as in a terminal, and no waiting for the disk.

HYPOTHESIS_PROFILE=ci uses the same examples every time, =long uses more, and dev is the default.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# Without deadlines and the check for slowness, which would fail tests on a busy machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("patient"), derandomize=True)
settings.register_profile("dev", settings.get_profile("patient"))
settings.register_profile("long", settings.get_profile("patient"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# What a shell starts in the background ignores Ctrl-C, what nohup starts ignores SIGHUP, and child processes inherit this. The
# effect of a signal in these tests must not depend on it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No test here loses power, and a sync takes longer than everything else. tests/power checks what is synced and when, by tracing
# the calls; separate processes really sync.
os.fsync = lambda fd: None  # noqa: ARG005 - the original has this name


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `tests/adapters/conftest.py` reads."""
    parser.addoption(
        "--record-conformance", action="store_true", help="write down what adapters do instead of comparing it with the record"
    )
