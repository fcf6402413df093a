"""What holds for all tests: Hypothesis profiles, Ctrl-C as in a terminal, and no waiting for the disk.

HYPOTHESIS_PROFILE=ci is the same every time, =long looks further, and dev is the default.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# No deadlines, and nothing is too slow: they fail tests for the load of the machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("patient"), derandomize=True)
settings.register_profile("dev", settings.get_profile("patient"))
settings.register_profile("long", settings.get_profile("patient"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# A shell has what it starts in the background ignore Ctrl-C, as nohup does with SIGHUP, and the children inherit it. What a
# signal does in these tests must not depend on that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Nothing loses its power in these tests, and a sync costs more than all the rest. What is synced, and when, tests/power asks of
# the calls themselves; processes of their own sync in earnest.
os.fsync = lambda fd: None  # noqa: ARG005 - the name is that of the true one


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the tests of adapters ask for, in `tests/adapters/conftest.py`."""
    parser.addoption(
        "--record-conformance", action="store_true", help="write down what adapters do instead of comparing it with the record"
    )
