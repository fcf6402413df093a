"""`RunLedger` writes one line for each run and never stops a run."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from acme_training.ledger import RunLedger
from hookcore import ParameterError
from hookcore_adapters.loop import Loop
from hookcore_plugins import EarlyStopping

if TYPE_CHECKING:
    from pathlib import Path


def at_noon() -> dt.datetime:
    return dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


def train(*plugins: object, losses: tuple[float, ...] = (1.0, 0.5)) -> None:
    with Loop(plugins, epochs=len(losses)) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(3)):
                loop.log(loss=losses[epoch])


def test_line(tmp_path: Path) -> None:
    """A finished run is one line with its outcome, its length and its last metrics."""
    path = tmp_path / "not" / "yet" / "ledger.jsonl"
    train(RunLedger(path, "digits", now=at_noon))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "time": "2026-01-02T12:00:00+00:00",
            "project": "digits",
            "outcome": "completed",
            "epochs": 2,
            "steps": 6,
            "metrics": {"loss": 0.5},
            "stop_reasons": [],
        }
    ]


def test_several_runs_share_a_ledger(tmp_path: Path) -> None:
    """A second run adds its own line, with its reasons to stop, and keeps the first."""
    path = tmp_path / "ledger.jsonl"
    train(RunLedger(path))
    train(RunLedger(path), EarlyStopping("loss", patience=1), losses=(1.0, 2.0, 3.0))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["outcome"], second["outcome"]) == ("completed", "stopped")
    assert second["epochs"] == 2
    assert second["stop_reasons"][0].startswith("early_stopping: loss has not improved")


def test_nan_is_null(tmp_path: Path) -> None:
    """A NaN becomes null, because JSON has no NaN and other tools read the ledger."""
    train(RunLedger(tmp_path / "ledger.jsonl"), losses=(float("nan"),))
    assert json.loads((tmp_path / "ledger.jsonl").read_text())["metrics"] == {"loss": None}


def test_failed_run_is_in_the_ledger(tmp_path: Path) -> None:
    """A run that raises an error has a line too."""
    msg = "out of memory"
    with pytest.raises(MemoryError, match=msg), Loop([RunLedger(tmp_path / "ledger.jsonl")], epochs=1):
        raise MemoryError(msg)
    assert json.loads((tmp_path / "ledger.jsonl").read_text())["outcome"] == "failed"


def test_unwritable_ledger_stops_no_run(tmp_path: Path) -> None:
    """If the file cannot be written to, the run continues and lists the failure."""
    with Loop([RunLedger(tmp_path)], epochs=1) as loop:
        epochs = list(loop.epochs())
    assert epochs == [0]
    assert [(failure.plugin, failure.hook) for failure in loop.run.failures] == [("run_ledger", "on_train_begin")]


def test_blank_project() -> None:
    """A blank project is refused by an error that names the parameter."""
    with pytest.raises(ParameterError, match="project must be a non-empty string"):
        RunLedger("ledger.jsonl", project=" ")
