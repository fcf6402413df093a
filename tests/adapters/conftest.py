"""Shared fixtures of the tests of adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.adapters import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck


@pytest.fixture
def conforms(request: pytest.FixtureRequest) -> Callable[[AdapterCheck], None]:
    """Return `conforms(check)`, which runs a case of the contract and compares its result with the record, or records it."""
    return recorded.record if request.config.getoption("--record-conformance", default=False) else recorded.compare
