"""`TransformersAdapter` keeps the contract of every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.testing import adapter_checks
from tests.adapters.transformers.harness import TransformersHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck


@pytest.mark.parametrize("check", adapter_checks(TransformersHarness), ids=lambda check: check.name)
def test_the_adapter_keeps_its_contract(check: AdapterCheck, conforms: Callable[[AdapterCheck], None]) -> None:
    """Each case has its recorded result: it works, is refused, or does not apply, with the reason."""
    conforms(check)
