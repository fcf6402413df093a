"""Measure what callbacks cost per iteration inside `xgboost.train`.

Each figure comes from a real training of trees of XGBoost's default depth on one thread, with one evaluation set. Marks before
and after the callbacks of a candidate note how long these take before and after each iteration; XGBoost's own work, also the
evaluation, is outside of the marks. A parameter that was set takes effect within the next iteration, in the same way for both.
A figure is the mean of all iterations, with the saves, or the fastest tenth of them, without.

Both sets of four do the same jobs: stop early, set the learning rate of each iteration, write the metrics of each, and save.
XGBoost's own `EvaluationMonitor` writes each line to a file here, as `CSVLog` does. Its `TrainingCheckPoint` writes one file,
which a crash or a loss of power may leave half written; `Checkpoint` syncs, hashes and removes the old ones, on another
thread. Its wait for the last save, after training, is outside of the marks.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
import xgboost
from xgboost.callback import EarlyStopping as XGBoostEarlyStopping
from xgboost.callback import EvaluationMonitor, LearningRateScheduler, TrainingCheckPoint

from hookcore_adapters.xgboost import XGBoostAdapter
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, LearningRateSchedule
from side_by_side import Gate, Table, benchmark, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ITERATIONS: Final = 500
SAMPLES: Final = 2000
SAVE_EVERY: Final = 100
FLOOR, AGAIN = "no callbacks", "no callbacks again"
THEIRS, OURS = "4 of XGBoost's callbacks", "XGBoostAdapter, the same 4 jobs"
AT_MOST: Final = 1.0
"""The limit for the time of ours in an iteration, as a multiple of theirs."""
LIMIT: Final = (
    "CSVLog writes each row at once and checks its file and its lock; each rate is in the history, and each observation goes "
    "through the hooks of all plugins, timed and with isolated errors."
)
ROOM: Final = 5
"""The factor by which that limit may be exceeded under `--check`."""


class Mark(EvaluationMonitor):  # type: ignore[misc]  # mypy skips XGBoost; this is the only one of its callbacks without a state
    """Adds the time to the latest of `seconds`, or subtracts it, so that each sum is the time between two marks."""

    def __init__(self, seconds: list[float], sign: int) -> None:
        super().__init__()
        self.seconds, self.sign = seconds, sign

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Start the figure of an iteration, or continue it."""
        if self.sign < 0:
            self.seconds.append(0.0)
        return self.after_iteration(model, epoch, evals_log)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Note the time."""
        del model, epoch, evals_log
        self.seconds[-1] += self.sign * time.perf_counter()
        return False

    def after_training(self, model: Any) -> Any:
        """Print nothing."""
        return model


def rate_of(epoch: int, rate: float = 0.0) -> float:
    """Return the learning rate of an iteration."""
    del rate
    return 0.1 / (1 + epoch)


def by_xgboost(directory: Path) -> Sequence[Any]:
    """Return XGBoost's own callbacks for four jobs."""
    log = (directory / "log.txt").open("w", buffering=1, encoding="utf-8")
    return [
        XGBoostEarlyStopping(rounds=ITERATIONS),
        LearningRateScheduler(rate_of),
        EvaluationMonitor(logger=log.write),
        TrainingCheckPoint(directory, interval=SAVE_EVERY),
    ]


def by_hookcore(directory: Path) -> Sequence[Any]:
    """Return the adapter with plugins for the same jobs."""
    plugins = [
        EarlyStopping("valid-logloss", patience=ITERATIONS),
        LearningRateSchedule(rate_of),
        CSVLog(directory / "log.csv"),
        Checkpoint(directory / "ours", monitor="valid-logloss", every_n_epochs=SAVE_EVERY),
    ]
    return [XGBoostAdapter(plugins)]


def data(seed: int) -> Any:
    """Return samples of two classes that overlap."""
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(SAMPLES, 20))
    return xgboost.DMatrix(x, label=(x.sum(1) + numbers.normal(size=SAMPLES) > 0).astype(int))


def of_one_training(callbacks: Sequence[Any]) -> list[float]:
    """Return the seconds of each iteration."""
    training, seconds = data(1), list[float]()
    trained = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        training,
        ITERATIONS,
        evals=[(data(2), "valid")],
        callbacks=[Mark(seconds, -1), *callbacks, Mark(seconds, 1)],
        verbose_eval=False,
    )
    assert trained.num_boosted_rounds() == ITERATIONS  # noqa: S101 - the check
    return seconds


@benchmark
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what callbacks cost per iteration."""
    fastest: dict[str, list[float]] = {}

    def mean(way: str, callbacks: Sequence[Any]) -> float:
        taken = of_one_training(callbacks)
        fastest.setdefault(way, []).append(statistics.quantiles(taken, n=10)[0])
        return statistics.fmean(taken)

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ways: dict[str, Callable[[], float]] = {
            FLOOR: lambda: mean(FLOOR, []),
            AGAIN: lambda: mean(AGAIN, []),
            THEIRS: lambda: mean(THEIRS, by_xgboost(directory)),
            OURS: lambda: mean(OURS, by_hookcore(directory)),
        }
        figures = measure(ways, rounds)
    with_saves = Table("callbacks of one iteration in XGBoost", "us", figures, floor=FLOOR, ours=OURS)
    yield with_saves
    without = {way: fastest[way][1:] for way in figures}  # the first round warms up
    yield Table("the same, the fastest tenth of the iterations, which do not save", "us", without, floor=FLOOR, ours=OURS)
    low, middle, high = with_saves.ratio(OURS, THEIRS)
    yield Gate(f"{OURS}: an iteration, x that of {THEIRS}", middle, AT_MOST, LIMIT, room=ROOM)
    yield f"Quartiles of that: {low:.3g} to {high:.3g}."


if __name__ == "__main__":
    main()
