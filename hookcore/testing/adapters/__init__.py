"""The contract of every adapter: `check_adapter` trains a small real model through it, and returns what works.

`harness` has the class that the author of an adapter subclasses, `cases` has the clauses, and `lives` has a run and the plugins
that watch it. The other modules have the cases, by subject.
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
