"""`replay` keeps the contract of every adapter, as far as there is something to train in a recorded run."""

from __future__ import annotations

import pytest

from hookcore.testing import AdapterCheck, Check, adapter_checks
from tests.adapters.replay_harness import ReplayHarness

CHECKS = [
    check
    for check in adapter_checks(ReplayHarness, set(Check) - {Check.OWN_ERROR})  # there is no code of a loop's own
    if check.name != "plugins-preemption"  # it has a clock, which a replay refuses as it does TimeLimit's
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_replay_keeps_the_contract_of_adapters(check: AdapterCheck) -> None:
    """Each case of the contract works, or does not apply for the reason that the harness gives."""
    check()
