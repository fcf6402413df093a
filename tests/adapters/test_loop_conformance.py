"""`Loop` keeps the contract of every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.testing import adapter_checks
from tests.adapters.loop_harness import LoopHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck


@pytest.mark.parametrize("check", adapter_checks(LoopHarness), ids=lambda check: check.name)
def test_a_loop_keeps_the_contract_of_adapters(check: AdapterCheck, conforms: Callable[[AdapterCheck], None]) -> None:
    """Each case has its recorded result: it works, is refused, or does not apply, with the reason."""
    conforms(check)
