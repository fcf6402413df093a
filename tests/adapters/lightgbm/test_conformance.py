"""`hookcore_adapters.lightgbm` keeps the contract of every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.testing import adapter_checks
from tests.adapters.lightgbm.harness import CallbackHarness, LightGBMHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck

CHECKS = [*adapter_checks(LightGBMHarness), *adapter_checks(CallbackHarness)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.harness.name}-{check.name}")
def test_lightgbm_keeps_the_contract_of_adapters(check: AdapterCheck, conforms: Callable[[AdapterCheck], None]) -> None:
    """Each case works, is refused, or does not apply, with the reason, as recorded."""
    conforms(check)
