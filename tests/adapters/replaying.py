"""Random settings of early stopping, and a check that a replay stops like a real run with the same setting."""

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
    numbers = random.Random(7)  # noqa: S311 - not for security
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
    """Check that a replay of each log stops like a real run with `setting`; return whether that run stopped early."""
    real = train([EarlyStopping(**setting)])
    for one in recorded:
        again = replay(one, [EarlyStopping(**setting)])
        assert again.outcome == real.outcome, (one.format, setting)
        assert [told(vote) for vote in again.stop_reasons] == [told(vote) for vote in real.stop_reasons], (one.format, setting)
        assert len(again.history) == len(real.history), (one.format, setting)
    return len(real.history) < EPOCHS


def told(vote: Any) -> tuple[Any, ...]:
    """Return the content of a vote, without the step, which some logs lack."""
    return vote.plugin, vote.message, vote.epoch, vote.metric, vote.value, vote.best, vote.best_epoch
