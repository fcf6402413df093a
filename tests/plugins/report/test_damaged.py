"""JSON that is not quite the record of a run is shown, or is an error of the report."""

from __future__ import annotations

import copy
import io
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hookcore_plugins import EarlyStopping, RunReport
from hookcore_plugins.report.compare import Comparison
from hookcore_plugins.report.record import ReportError
from hookcore_plugins.report.recorded import read_run
from hookcore_plugins.report.summary import show
from tests.plugins.report.reporting import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

MUTATIONS = 1500
VALUES: list[Any] = [None, 0, -1, 1.5, "x", "", [], {}, True, 10**400, 1e308, {"float": "nan"}, {"float": "inf"}, {"float": "x"}]
VALUES += [[None], ["a"], {"a": 1}, "\x1b[31m", -(10**30), [[]], "1e5", 2**63]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield every place in a JSON value, by the keys and indices that lead there."""
    if place:
        yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


def damaged(document: Any, chance: random.Random) -> Any:
    """Draw a copy with one or two values removed or replaced."""
    copied = copy.deepcopy(document)
    for _ in range(chance.choice([1, 1, 2])):
        *way, last = chance.choice(list(places(copied)))
        inner = copied
        for key in way:
            inner = inner[key]
        if chance.random() < 0.2:
            del inner[last]
        else:
            inner[last] = chance.choice(VALUES)
    return copied


@pytest.mark.parametrize("earlier", [False, True])
def test_a_damaged_file_is_an_error_of_the_report_or_is_shown(tmp_path: Path, *, earlier: bool) -> None:
    """Any JSON in the file leads to a sentence that names the file, or to the summary, never to a traceback."""
    recorded(
        tmp_path,
        [{"loss": 1.0 / (1 + epoch), "val_loss": 1.0 + epoch} for epoch in range(4)],
        [EarlyStopping(patience=1)],
        config={"model": {"depth": 3}, "x": [1]},
    )
    path = Path(__file__).with_name("run_of_format_1.json") if earlier else tmp_path / "run.json"
    refused = shown = 0
    document, chance = json.loads(path.read_text()), random.Random(0)  # noqa: S311 - a test
    file = tmp_path / "damaged.json"
    for _ in range(MUTATIONS):
        file.write_text(json.dumps(damaged(document, chance)))
        try:
            report = RunReport.read(file)
        except ReportError as error:
            refused += str(file) in str(error)
        else:
            shown += 1
            show(report, io.StringIO())
            assert report.dumps()
            assert Comparison.of([read_run(file)]).csv()
    assert refused + shown == MUTATIONS
    assert min(refused, shown) > 0
