"""The results of `check_adapter` for each adapter in `conformance/`, for the tests to compare and for docs/adapters.md.

`pytest tests/adapters/<framework>/test_conformance.py --record-conformance` records them, in an environment with the framework
and `pip install 'hookcore[report,tensorboard]'` for the shipped plugins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore.testing import adapter_checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.testing import AdapterCheck, Harness, Result

DIRECTORY: Final = Path(__file__).parent / "conformance"
"""The directory with a file for each harness, named after it."""
STALE: Final = (
    "This is not what tests/adapters/conformance/{}.json has. If it is right, run the test with --record-conformance, then "
    "python -m tests.adapters.matrix for docs/adapters.md."
)


@attrs.frozen
class Record:
    """The record of one adapter: what its harness declares, and the result of each case, by the name of its check."""

    declares: Mapping[str, Any] = attrs.field(factory=dict)
    results: Mapping[str, str] = attrs.field(factory=dict)
    """The result, as in `"works"`, or with a reason, as in `"refused: the rate comes from a schedule"`."""

    @classmethod
    def read(cls, name: str, directory: Path = DIRECTORY) -> Record:
        """Return the record called `name`, or an empty one if nothing is recorded."""
        try:
            return cls(**json.loads((directory / f"{name}.json").read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, name: str, directory: Path = DIRECTORY) -> None:
        (directory / f"{name}.json").write_text(json.dumps(attrs.asdict(self), indent=1) + "\n")


def declared(harness: type[Harness]) -> dict[str, Any]:
    """Return what a harness declares of its adapter and the documentation shows."""
    return {
        "lacks": {feature.value: reason for feature, reason in harness.lacks.items()},
        "refuses": {feature.value: reason for feature, reason in harness.refuses.items()},
        "resumes": harness.resumes,
        "votes": attrs.asdict(harness.votes),
        "tells_errors": harness.tells_errors,
        "interrupts": [error.__name__ for error in harness.interrupts],
    }


def _told(result: Result) -> str:
    return f"{result.verdict}: {result.reason}" if result.reason else result.verdict


def compare(check: AdapterCheck, directory: Path = DIRECTORY) -> None:
    """Run a case, and check that its result is the recorded one."""
    record, stale = Record.read(check.harness.name, directory), STALE.format(check.harness.name)
    assert declared(check.harness) == record.declares, stale
    assert _told(check()) == record.results.get(check.name), stale


def record(check: AdapterCheck, directory: Path = DIRECTORY) -> None:
    """Run a case and record its result, and remove cases that no longer exist."""
    name = check.harness.name
    results = {**Record.read(name, directory).results, check.name: _told(check())}
    known = [one.name for one in adapter_checks(check.harness) if one.name in results]
    Record(declared(check.harness), {case: results[case] for case in known}).write(name, directory)
