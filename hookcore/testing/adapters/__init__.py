"""The contract of every adapter: `check_adapter` trains a small real model through it, and says what works.

`harness` is what the author of an adapter writes, `cases` has the clauses, `lives` a run with what watches it; the other modules
have the cases, by subject.
"""

from __future__ import annotations

from hookcore.testing.adapters.cases import AdapterCheck, Check, Result
from hookcore.testing.adapters.conformance import adapter_checks, check_adapter
from hookcore.testing.adapters.harness import SEED, Feature, Harness, Job, Scenario, Votes, digest_of

__all__ = [
    "SEED",
    "AdapterCheck",
    "Check",
    "Feature",
    "Harness",
    "Job",
    "Result",
    "Scenario",
    "Votes",
    "adapter_checks",
    "check_adapter",
    "digest_of",
]
