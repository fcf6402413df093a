"""Measure what callbacks cost per iteration inside `lightgbm.train`.

Each figure comes from a real training on a few rows, on one thread, with one validation set. Our own objective and metric note
the time: a figure is the time from the first callback at an iteration's beginning until the objective is called, plus the time
from the end of the metric until the next iteration's first callback. LightGBM's own loop is the same in all rows, and the first
row has nothing else. A figure is the fastest tenth of the last 300 iterations, because other work on a shared machine can only
make iterations slower.

LightGBM's four callbacks stop early, record, log and set the rate, each with nothing to decide; hookcore's four plugins stop
early, reduce the rate, guard against NaN and end after a while, and the run records. The counting ones count iterations; that
they miss none is checked.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import click
import lightgbm
import numpy as np

from hookcore import hookimpl
from hookcore_adapters.lightgbm import LightGBMAdapter, train
from hookcore_plugins import EarlyStopping, NaNGuard, ReduceLROnPlateau, TimeLimit
from side_by_side import Gate, Table, benchmark, engine_of, gates_of_added, measure, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASURED: Final = 300
ITERATIONS: Final = 2 * MEASURED
FLOOR, AGAIN = "no callbacks", "no callbacks again"
THEIRS, OURS = "4 of LightGBM's callbacks", "train, 4 plugins"
AS_CALLBACK: Final = "LightGBMAdapter, the same 4 plugins"
COUNTING, COUNTERS = "4 counting callbacks", "train, 4 counting plugins"
GATES: Final = {(OURS, THEIRS): 4.5, (AS_CALLBACK, THEIRS): 4.5, (COUNTERS, COUNTING): 8.0}
"""What the first of each pair may add to an iteration, as a multiple of what the second adds."""
GOAL: Final = 25e-6
"""The goal for the seconds that four plugins add to an iteration, on the machine it was set for; printed, but not a gate."""


class Timed:
    """A training whose iterations are almost pure overhead, and which notes the time around its callbacks."""

    before_iteration = True

    def __init__(self) -> None:
        self.order = -math.inf  # before all other callbacks
        self.seconds: list[float] = []
        self.since = 0.0

    def __call__(self, env: Any) -> None:
        """Begin an iteration: the callbacks of the previous one are done."""
        del env
        now = time.perf_counter()
        self.seconds.append(now - self.since)
        self.since = now

    def given(self) -> dict[str, Any]:
        """Return the arguments of `train`."""

        def objective(predicted: Any, data: Any) -> tuple[Any, Any]:
            self.seconds[-1] += time.perf_counter() - self.since
            return predicted - data.get_label(), np.ones_like(predicted)

        def metric(predicted: Any, data: Any) -> tuple[str, float, bool]:
            del predicted, data
            self.since = time.perf_counter()
            return "loss", 1.0, False

        rows = np.arange(40.0).reshape(20, 2)
        data = lightgbm.Dataset(rows, rows[:, 0])
        params = {"objective": objective, "num_leaves": 2, "min_data_in_leaf": 2, "num_threads": 1, "verbosity": -1}
        return {
            "params": params,
            "train_set": data,
            "num_boost_round": ITERATIONS,
            "valid_sets": [lightgbm.Dataset(rows, rows[:, 0], reference=data)],
            "feval": metric,
        }


class Counting:
    """Counts: the cheapest callback."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, env: Any) -> None:
        """Count."""
        del env
        self.n += 1


class Counter:
    """Counts: the cheapest plugin with a hook of iterations."""

    def __init__(self) -> None:
        self.n = 0

    @hookimpl
    def on_epoch_end(self) -> None:
        """Count."""
        self.n += 1


def plugins() -> list[object]:
    """Return four plugins that have nothing to decide."""
    monitor: dict[str, Any] = {"monitor": "valid_0-loss", "patience": 10**6}
    return [EarlyStopping(**monitor), ReduceLROnPlateau(**monitor), NaNGuard("valid_0-loss"), TimeLimit(10**6)]


def of_one_training(with_plugins: list[object], *callbacks: Any, as_callback: bool = False) -> float:
    """Return the seconds of one iteration."""
    timed = Timed()
    engine = engine_of(with_plugins)
    own = [*callbacks, LightGBMAdapter(engine)] if as_callback else [*callbacks]
    if with_plugins and not as_callback:
        train(**timed.given(), callbacks=[timed, *own], plugins=engine)
    else:
        lightgbm.train(**timed.given(), callbacks=[timed, *own])
    return statistics.quantiles(timed.seconds[-MEASURED:], n=10)[0]


def counting() -> float:
    """Return what counting callbacks cost. Raises `AssertionError` if one missed an iteration."""
    callbacks = [Counting() for _ in range(4)]
    seconds = of_one_training([], *callbacks)
    assert {callback.n for callback in callbacks} == {ITERATIONS}  # noqa: S101 - the check
    return seconds


def counters() -> float:
    """Return what counting plugins cost. Raises `AssertionError` if one missed an iteration."""
    counted = [Counter() for _ in range(4)]
    seconds = of_one_training([*counted])
    assert {plugin.n for plugin in counted} == {ITERATIONS}  # noqa: S101 - the check
    return seconds


def theirs() -> float:
    """Return what LightGBM's callbacks cost."""
    return of_one_training(
        [],
        lightgbm.early_stopping(10**6, verbose=False),
        lightgbm.record_evaluation({}),
        lightgbm.log_evaluation(10**6),
        lightgbm.reset_parameter(learning_rate=lambda _: None),
    )


WAYS: Final[dict[str, Callable[[], float]]] = {
    FLOOR: lambda: of_one_training([]),
    AGAIN: lambda: of_one_training([]),
    THEIRS: theirs,
    OURS: lambda: of_one_training(plugins()),
    AS_CALLBACK: lambda: of_one_training(plugins(), as_callback=True),
    COUNTING: counting,
    COUNTERS: counters,
}


@benchmark
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what callbacks cost per iteration."""
    figures = measure(WAYS, rounds)
    yield Table("callbacks of one iteration in LightGBM", "us", figures, floor=FLOOR, ours=OURS)
    yield from gates_of_added(figures, FLOOR, GATES)
    added = spread([ours - floor for ours, floor in zip(figures[OURS], figures[FLOOR], strict=True)])
    yield f"{OURS}: {added[1] * 1e6:.3g} us more than {FLOOR}; the goal was {GOAL * 1e6:.0f}."


if __name__ == "__main__":
    main()
