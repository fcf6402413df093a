"""The contract of every adapter, kept in `Trainer`."""

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
    """What comes of each case is what is recorded: it works, is refused, or does not apply, with the reason."""
    conforms(check)
