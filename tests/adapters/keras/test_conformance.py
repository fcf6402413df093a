"""`fit` and `KerasAdapter` keep the contract of every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.testing import adapter_checks
from tests.adapters.keras.backends import BACKEND
from tests.adapters.keras.harness import AdapterHarness, FitHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck

# `KerasAdapter` differs from `fit` only in the callback list, so one of them is enough on backends that compile.
HARNESSES = [FitHarness, AdapterHarness] if BACKEND == "torch" else [FitHarness]


@pytest.mark.parametrize(
    "check",
    [check for harness in HARNESSES for check in adapter_checks(harness)],
    ids=lambda check: f"{check.harness.name}-{check.name}",
)
def test_keras_keeps_the_contract_of_adapters(check: AdapterCheck, conforms: Callable[[AdapterCheck], None]) -> None:
    """Each case has its recorded result: it works, is refused, or does not apply, with the reason."""
    conforms(check)
