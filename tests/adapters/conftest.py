"""The tests of adapters: what comes of each case of the contract is what is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.adapters import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore.testing import AdapterCheck


@pytest.fixture
def conforms(request: pytest.FixtureRequest) -> Callable[[AdapterCheck], None]:
    """`conforms(check)`: run a case of the contract, and compare what comes of it with the record, or record it."""
    return recorded.record if request.config.getoption("--record-conformance", default=False) else recorded.compare
