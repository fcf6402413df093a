"""Plugins under TensorFlow's `MirroredStrategy` and JAX's `DataParallel`, which split each batch between replicas of a model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.keras.backends import BACKEND, only_on

pytestmark = only_on("tensorflow", "jax", what="Keras on several devices")
SCRIPT = Path(__file__).with_name("replicas.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the results that `replicas.py` wrote."""
    for _ in range(3):
        directory = tmp_path_factory.mktemp("replicas")
        done = subprocess.run([sys.executable, str(SCRIPT), str(directory)], capture_output=True, text=True, check=False)
        if done.returncode != -signal.SIGSEGV:  # TensorFlow's own code ends so now and then, in about one of ten processes
            break
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "results.json").read_text())


@pytest.mark.parametrize("strategy", ["one", "two", *(["two, data split beforehand"] if BACKEND == "tensorflow" else [])])
def test_every_plugin_works_on_replicas_and_a_cut_run_is_resumed(results: Any, strategy: str) -> None:
    """On one and two replicas, no plugin fails, logs have the rate, and an interrupted run is resumed exactly."""
    found = results[strategy]
    assert found["failures"] == []
    assert found["outcome"] == "stopped"
    assert found["rates"][0] == pytest.approx(1e-3)
    assert found["rates"][-1] == pytest.approx(5e-4)
    assert found["resumed at"] == [6, list(range(len(found["rates"])))]
    assert found["same weights"]
    assert found["same history"]
    uncut, cut = found["csv"]
    assert uncut == cut
    assert "learning_rate" in uncut.splitlines()[0]
    assert found["files"] == ["activations", "board", "checkpoints", "log.csv", "log.jsonl", "report"]


def test_the_rate_is_set_on_replicas(results: Any) -> None:
    """Drop-ins and plugins set the learning rate, and read back what they have set."""
    assert results["drop-ins"] == pytest.approx([1e-4, 1e-4, 5e-5, 0.25])
