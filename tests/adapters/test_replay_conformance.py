"""`replay` keeps the contract of adapters, as far as it applies to a recorded run."""

from __future__ import annotations

import pytest

from hookcore.testing import AdapterCheck, Check, adapter_checks
from tests.adapters.replay_harness import ReplayHarness

CHECKS = [
    check
    for check in adapter_checks(ReplayHarness, set(Check) - {Check.OWN_ERROR})  # a replay has no user's code
    if check.name != "plugins-preemption"  # it has a clock, which a replay refuses, as that of TimeLimit
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_replay_keeps_the_contract_of_adapters(check: AdapterCheck) -> None:
    """Each case of the contract works, or does not apply for the harness's reason."""
    check()
