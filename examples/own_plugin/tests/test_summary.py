"""`RunSummary` logs one line when a run ends, after the hooks of all other plugins."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from acme_training.summary import RunSummary
from hookcore import Engine
from hookcore.testing import RecordingPlugin
from hookcore_adapters.loop import Loop
from hookcore_plugins import EarlyStopping

if TYPE_CHECKING:
    import pytest


def test_summary(caplog: pytest.LogCaptureFixture) -> None:
    """One line has the outcome of the run and the reason."""
    engine = Engine([RunSummary(), EarlyStopping("loss", patience=1)], autoload=False)
    with caplog.at_level(logging.INFO, "acme_training"), Loop(engine, epochs=9) as loop:
        for epoch in loop.epochs():
            loop.log(loss=float(epoch))
    (record,) = (record for record in caplog.records if record.name == "acme_training")
    assert record.message == (
        "run stopped after 2 epochs, 2 steps (early_stopping: loss has not improved for 1 observation: 1, best 0 at epoch 1)"
    )


def test_called_last() -> None:
    """The summary is written after the hooks of all other plugins."""
    assert Engine([RunSummary(), RecordingPlugin()], autoload=False).order("on_train_end") == ["recording", "run_summary"]
