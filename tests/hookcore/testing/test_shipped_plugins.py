"""The plugins of this distribution keep the contract."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from hookcore import HookcoreError, MetricError
from hookcore.registry import discovery
from hookcore.testing import check_plugin
from hookcore.testing.conformance import SETTINGS
from hookcore_plugins import (
    Activations,
    Checkpoint,
    Console,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    NaNGuard,
    Preemption,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
    TimeLimit,
)
from tests.hookcore.testing.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Factory = Callable[[], object]

# The profile says how many examples there are, and whether they are the same each time.
PROFILE = hypothesis.settings()
THOROUGH = hypothesis.settings(SETTINGS, max_examples=PROFILE.max_examples // 10, derandomize=PROFILE.derandomize)


def conforming(tmp_path: Path) -> dict[str, list[tuple[Factory, dict[str, Any]]]]:
    """Return ways to make each shipped plugin, by its name in the catalogue, with options of `check_plugin`."""
    numbers = itertools.count()
    clock = Clock()

    def directory() -> Path:
        return tmp_path / str(next(numbers))

    return {
        # The trainee of these runs has no views: only the plugin's refusal and its state are checked.
        "activations": [(lambda: Activations(directory()), {"raises": (HookcoreError,)})],
        "checkpoint": [
            (lambda: Checkpoint(directory(), every_n_steps=3, keep_last=1), {}),
            (lambda: Checkpoint(directory(), save_best_only=True), {}),
        ],
        "console": [(lambda: Console("lines", stream=io.StringIO(), clock=clock), {"tick": clock.tick})],
        "csv_log": [(lambda: CSVLog(directory() / "log.csv"), {})],
        "early_stopping": [
            (lambda: EarlyStopping(patience=2), {}),
            (lambda: EarlyStopping(patience=2, min_delta=0.5, baseline=1.0, start_from_epoch=1), {"min_delta": 0.5}),
            (lambda: EarlyStopping("loss", restore_best_weights=True), {}),
        ],
        "json_log": [(lambda: JSONLog(directory() / "log.jsonl", clock=clock), {"tick": clock.tick})],
        "learning_rate_schedule": [
            (lambda: LearningRateSchedule(lambda epoch: 0.1 / (epoch + 1)), {}),
            (lambda: LearningRateSchedule(lambda _, rate: rate / 2), {}),
        ],
        "nan_guard": [
            (lambda: NaNGuard(every_n_steps=2), {}),
            (lambda: NaNGuard(action="raise"), {"raises": (MetricError,)}),
        ],
        "preemption": [(lambda: Preemption(clock=clock), {"tick": clock.tick})],
        "reduce_lr_on_plateau": [(lambda: ReduceLROnPlateau(patience=2, cooldown=2), {"min_delta": 1e-4})],
        "report": [
            (lambda: Report(directory(), summary=False, clock=clock, now=clock), {"tick": clock.tick}),
            (lambda: Report(directory(), stream=io.StringIO(), graph="png", interval=0), {}),
        ],
        "tensorboard": [
            (lambda: TensorBoard(directory()), {}),
            (lambda: TensorBoard(directory(), update_freq=2, steps_per_second=True, clock=clock), {"tick": clock.tick}),
        ],
        "time_limit": [(lambda: TimeLimit(seconds=20, clock=clock), {"tick": clock.tick})],
    }


SHIPPED = [
    entry.name
    for entry in discovery.entry_points(discovery.CATALOGUE)
    if entry.dist is not None and entry.dist.name == "hookcore"
]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_plugin_keeps_the_contract(tmp_path: Path, name: str) -> None:
    """Each plugin of this distribution passes the check, some of them with several sets of parameters."""
    # A plugin that waits for the disk takes ten times as long.
    examples = THOROUGH.max_examples // (5 if name in {"checkpoint", "report", "tensorboard"} else 1)
    for factory, options in conforming(tmp_path)[name]:
        check_plugin(factory, settings=hypothesis.settings(THOROUGH, max_examples=examples), **options)
