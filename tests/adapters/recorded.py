"""What `check_adapter` finds of each adapter, recorded in `conformance/`: the tests compare, and docs/adapters.md is made of it.

`pytest tests/adapters/<framework>/test_conformance.py --record-conformance` records it, in an environment that has the
framework and what the shipped plugins need: `pip install 'hookcore[report,tensorboard]'`.
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
"""A file for each harness, called by its name."""
STALE: Final = (
    "This is not what tests/adapters/conformance/{}.json has. If it is right, run the test with --record-conformance, then "
    "python -m tests.adapters.matrix for docs/adapters.md."
)


@attrs.frozen
class Record:
    """What is known of one adapter: what its harness declares, and what came of each case, by the name of its check."""

    declares: Mapping[str, Any] = attrs.field(factory=dict)
    results: Mapping[str, str] = attrs.field(factory=dict)
    """The verdict, as in `"works"`, or with a reason, as in `"refused: the rate comes from a schedule"`."""

    @classmethod
    def read(cls, name: str, directory: Path = DIRECTORY) -> Record:
        """The record called `name`; an empty one if nothing is recorded."""
        try:
            return cls(**json.loads((directory / f"{name}.json").read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, name: str, directory: Path = DIRECTORY) -> None:
        (directory / f"{name}.json").write_text(json.dumps(attrs.asdict(self), indent=1) + "\n")


def declared(harness: type[Harness]) -> dict[str, Any]:
    """What a harness says that its adapter does, as far as the documentation has it."""
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
    """Run a case: what comes of it is what is recorded."""
    record, stale = Record.read(check.harness.name, directory), STALE.format(check.harness.name)
    assert declared(check.harness) == record.declares, stale
    assert _told(check()) == record.results.get(check.name), stale


def record(check: AdapterCheck, directory: Path = DIRECTORY) -> None:
    """Run a case, and write down what comes of it, without what is no longer checked."""
    name = check.harness.name
    results = {**Record.read(name, directory).results, check.name: _told(check())}
    known = [one.name for one in adapter_checks(check.harness) if one.name in results]
    Record(declared(check.harness), {case: results[case] for case in known}).write(name, directory)
