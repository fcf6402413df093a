"""`check_adapter`: every case of the contract, for one adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hookcore.testing.adapters import endings, events, resuming, shipped, states
from hookcore.testing.adapters.cases import AdapterCheck, Case, Check, Result, check_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from hookcore.testing.adapters.harness import Harness

_MODULES: Final[tuple[ModuleType, ...]] = (events, endings, states, resuming)


def adapter_checks(harness: type[Harness], checks: Iterable[Check] = Check) -> list[AdapterCheck]:
    """Return the cases of `checks`, by default of all clauses, for one adapter, to call each in a test of its own.

        @pytest.mark.parametrize("check", adapter_checks(LoopHarness), ids=lambda check: check.name)
        def test_the_adapter_keeps_its_contract(check):
            check()

    A call returns a `Result`, and raises `AssertionError` for a breach.
    """
    wanted = set(checks)
    cases = [value for module in _MODULES for value in vars(module).values() if isinstance(value, Case)]
    found = [case for case in (*cases, *shipped.cases()) if case.check in wanted]
    return [check_of(harness, case) for case in sorted(found, key=lambda case: list(Check).index(case.check))]


def check_adapter(harness: type[Harness], checks: Iterable[Check] = Check) -> list[Result]:
    """Check that an adapter keeps its contract, by training a small real model through it; return the results.

    `harness` is a subclass of `Harness` that you write. `checks` are the clauses to check, by default all. What the harness
    `lacks` is not checked, and is in the results with the reason. What it `refuses` is asked for, and must be refused with that
    reason.

    Raises `AssertionError`, which names the adapter, the `Check` and what went wrong, for the first breach.
    """
    return [check() for check in adapter_checks(harness, checks)]
