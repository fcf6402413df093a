"""In loops with PyTorch, a run that is interrupted and resumed equals an uninterrupted one bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.adapters.torch.lives import BATCHES, EPOCHS, KINDS
from tests.plugins.tensorboard.event_files import with_tests

PART = "import os, sys; os.fsync = lambda _: None; from tests.adapters.torch import lives; lives.{part}(sys.argv[1:])"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return, by kind, the results of an uninterrupted run, and of a run in another process from each checkpoint."""
    directory = tmp_path_factory.mktemp("law")
    for part in ("trains_whole", "resumes_from_each"):
        done = subprocess.run(
            [sys.executable, "-c", PART.format(part=part), *KINDS],
            cwd=directory,
            env=with_tests(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return {
        kind: {name: json.loads((directory / kind / f"{name}.json").read_text()) for name in ("whole", "resumed")}
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_process_resumes_from_every_step_and_epochs_end(told: dict[str, dict[str, Any]], kind: str) -> None:
    """Resumed from every step and epoch, a run has the same events, decisions, weights, state and random numbers."""
    whole, resumed = told[kind]["whole"], told[kind]["resumed"]
    steps = 3 if kind == "accumulating" else BATCHES
    assert len(resumed) == EPOCHS * steps
    for name, life in resumed:
        events = life.pop("events")
        assert events == whole["events"][len(whole["events"]) - len(events) :], name
        assert life == {part: value for part, value in whole.items() if part != "events"}, name
