"""docs/adapters.md shows the records of each adapter, and the records cover the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.adapter_info import GROUP
from hookcore.registry import discovery
from hookcore.testing import Check, Feature, adapter_checks
from tests.adapters import matrix, recorded
from tests.adapters.loop_harness import LoopHarness

if TYPE_CHECKING:
    from pathlib import Path

RECORDED = [name for column in matrix.COLUMNS for name in column.records]


def test_the_page_has_what_is_recorded() -> None:
    """The tables of docs/adapters.md equal those that `python -m tests.adapters.matrix` makes from the records."""
    page = matrix.PAGE.read_text()
    assert page == matrix.written(page), "stale: run python -m tests.adapters.matrix"


def test_every_record_is_in_the_tables() -> None:
    """Each file in conformance/ belongs to a column."""
    assert sorted(path.stem for path in recorded.DIRECTORY.iterdir()) == sorted(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_every_case_is_recorded(name: str) -> None:
    """A record has exactly the cases of the contract in order, including those of new plugins."""
    assert list(recorded.Record.read(name).results) == [check.name for check in adapter_checks(LoopHarness)]


def test_every_adapter_has_a_column() -> None:
    """Each adapter with an entry point has a column."""
    shipped = [entry for entry in discovery.entry_points(GROUP) if entry.dist is not None and entry.dist.name == "hookcore"]
    assert len(matrix.COLUMNS) == len(shipped)


def test_another_result_than_the_recorded_one_fails(tmp_path: Path) -> None:
    """A case, or a harness's declaration, that differs from the record fails."""
    (check,) = adapter_checks(LoopHarness, [Check.OWN_STOP])
    with pytest.raises(AssertionError, match="--record-conformance"):
        recorded.compare(check, tmp_path)
    recorded.record(check, tmp_path)
    recorded.compare(check, tmp_path)
    known = recorded.Record.read("loop", tmp_path)
    assert known.results == {"own_stop-after_an_epoch": f"not applicable: {LoopHarness.lacks[Feature.OWN_STOP]}"}
    recorded.Record(known.declares, {check.name: "works"}).write("loop", tmp_path)
    with pytest.raises(AssertionError, match=r"conformance/loop\.json"):
        recorded.compare(check, tmp_path)
    recorded.Record({**known.declares, "resumes": "epoch"}, known.results).write("loop", tmp_path)
    with pytest.raises(AssertionError, match=r"conformance/loop\.json"):
        recorded.compare(check, tmp_path)


def test_recording_drops_what_is_no_longer_checked(tmp_path: Path) -> None:
    """Recording a case removes cases that no longer exist."""
    (check,) = adapter_checks(LoopHarness, [Check.OWN_STOP])
    recorded.Record({}, {"gone-with_the_wind": "works"}).write("loop", tmp_path)
    recorded.record(check, tmp_path)
    assert list(recorded.Record.read("loop", tmp_path).results) == [check.name]
