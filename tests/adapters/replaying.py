"""Random settings of early stopping, and whether a replay of a recorded run stops where the real run with a setting does."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hookcore_adapters.replay import replay
from hookcore_plugins import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hookcore import Run
    from hookcore_plugins.report.recorded import RecordedRun

EPOCHS = 14


def settings(number: int, values: Sequence[float]) -> list[dict[str, Any]]:
    """Return random settings, with thresholds of the size of the changes in `values`."""
    numbers = random.Random(7)  # noqa: S311 - no secret
    changes = [abs(one - other) for one, other in pairwise(values)]
    return [
        {
            "monitor": numbers.choice(["val_loss", "loss"]),
            "mode": numbers.choice(["auto", "auto", "auto", "max"]),
            "patience": numbers.randint(0, 5),
            "min_delta": numbers.choice([0.0, 0.0, *changes]),
            "baseline": numbers.choice([None, None, *values]),
            "start_from_epoch": numbers.choice([0, 0, 0, 2, 4]),
            "restore_best_weights": numbers.random() < 0.5,
        }
        for _ in range(number)
    ]


def check_same(recorded: Sequence[RecordedRun], setting: dict[str, Any], train: Callable[[list[object]], Run]) -> bool:
    """Check that each record of one run leads to the stop of a real run with `setting`; return whether that stopped early."""
    real = train([EarlyStopping(**setting)])
    for one in recorded:
        again = replay(one, [EarlyStopping(**setting)])
        assert again.outcome == real.outcome, (one.format, setting)
        assert [told(vote) for vote in again.stop_reasons] == [told(vote) for vote in real.stop_reasons], (one.format, setting)
        assert len(again.history) == len(real.history), (one.format, setting)
    return len(real.history) < EPOCHS


def told(vote: Any) -> tuple[Any, ...]:
    """Return what a vote tells, without the step, which some logs lack."""
    return vote.plugin, vote.message, vote.epoch, vote.metric, vote.value, vote.best, vote.best_epoch
