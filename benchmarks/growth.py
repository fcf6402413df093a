"""Measure how costs grow: with plugins that implement a hook, with other plugins, with a run's length, and at its start.

A batch is `Session.batch_begin` and `Session.batch_end`, which are what an adapter calls for it, with plugins that count. *What
each plugin adds* is the cost with N plugins minus the cost with one in the same round, divided by N - 1. The two ages are two
sessions: one lives through all rounds, and the other is new in each round and has trained its first batches, all of which
hookcore times. A start is `Engine.start` and `Session.train_begin`, for plugins that implement every hook and for
`EarlyStopping`, which implements three and has a state; what an earlier start compiled is discarded. Creating the engine, which
examines the plugins, is measured separately. The floor of both is the time in which pluggy registers the same plugins.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import pluggy

from hookcore import Engine, Metrics, Run, dispatch, hookimpl, specs
from hookcore.markers import PROJECT
from hookcore.testing.doubles import RecordingPlugin
from hookcore_plugins import EarlyStopping, NaNGuard
from side_by_side import Counter, Gate, Table, benchmark, engine_of, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hookcore import Session

EVENTS: Final = 500
IMPLEMENTING: Final = (0, 1, 2, 4, 8, 16, 32, 64)
OTHERS: Final = (0, 1, 4, 16, 64)
PLUGINS: Final = (1, 10, 50)
YOUNG, OLD = 2_000, 1_000_000
EPOCHS, OLD_EPOCHS = 200, 100_000
METRICS: Final = {"loss": 0.5, "val_loss": 0.5}
LINEAR, FLAT, START = 1.5, 1.1, 0.75


@attrs.define(eq=False)
class Other:
    """Implements no hook of batches."""

    @hookimpl
    def on_epoch_end(self) -> None:
        """Do nothing."""


def begun(plugins: list[object], steps: int) -> Session:
    """Return a session that has trained `steps` batches."""
    session = engine_of(plugins).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    batches(session, steps)
    return session


def batches(session: Session, number: int) -> float:
    """Run `number` batches; return the seconds of one."""
    metrics = Metrics(METRICS)
    began = time.perf_counter()
    for batch in range(number):
        session.batch_begin(batch)
        session.batch_end(batch, metrics)
    return (time.perf_counter() - began) / number


def sample(session: Session) -> Callable[[], float]:
    """Return a function that takes a sample of batches."""
    return lambda: batches(session, EVENTS)


def implementing(rounds: int) -> Iterator[Table | Gate]:
    """Measure a batch with plugins that implement its hook. Raises `AssertionError` if a plugin missed a batch."""
    counters: dict[int, list[Any]] = {k: [Counter() for _ in range(k)] for k in IMPLEMENTING}
    ways = {f"with {k}": sample(begun(own, YOUNG)) for k, own in counters.items()}
    figures = measure(ways, rounds)
    told = {one.n for own in counters.values() for one in own}
    assert told == {YOUNG + (1 + rounds) * EVENTS}, told  # noqa: S101 - the check
    yield Table("one batch, with N plugins that implement its hook", "ns", figures, floor="with 1")
    added = {
        f"each of {k}": [
            (all_of_them - one) / (k - 1) for all_of_them, one in zip(figures[f"with {k}"], figures["with 1"], strict=True)
        ]
        for k in IMPLEMENTING
        if k > 1
    }
    yield Table("what each plugin adds to one batch", "ns", added)
    medians = [statistics.median(added[f"each of {k}"]) for k in IMPLEMENTING if k >= 4]  # noqa: PLR2004 - fewer are in the noise
    yield Gate("what each of 4 to 64 plugins adds, the most x the least", max(medians) / min(medians), LINEAR)


def not_implementing(rounds: int) -> Iterator[Table | Gate]:
    """Measure a batch with plugins that do not implement its hook."""
    ways = {
        f"4 and {k} others": sample(begun([*(Counter() for _ in range(4)), *(Other() for _ in range(k))], YOUNG)) for k in OTHERS
    }
    found = Table(
        "one batch, 4 plugins that implement its hook and others that do not", "ns", measure(ways, rounds), floor="4 and 0 others"
    )
    yield found
    yield Gate(
        "one batch, with 64 plugins that do not implement it, x without",
        found.ratio("4 and 64 others", "4 and 0 others")[1],
        FLAT,
    )


def steps(rounds: int) -> Iterator[Table | Gate]:
    """Measure a batch and an epoch's end in young and old runs."""
    old = begun([Counter() for _ in range(4)], OLD)

    def aged() -> float:
        batches(old, YOUNG)  # as warm as the other
        return batches(old, EVENTS)

    def young() -> float:
        return batches(begun([Counter() for _ in range(4)], YOUNG), EVENTS)

    figures = measure({f"after {YOUNG:,} steps": young, f"after {OLD:,} steps": aged}, rounds)
    found = Table("one batch, 4 plugins", "ns", figures, floor=f"after {YOUNG:,} steps")
    assert old.run.progress.step == OLD + (1 + rounds) * (YOUNG + EVENTS)  # noqa: S101 - the check
    yield found
    yield Gate(f"one batch after {OLD:,} steps, x after {YOUNG:,}", found.ratio(*reversed(figures))[1], FLAT)

    old = begun([EarlyStopping("val_loss", patience=10 * OLD), NaNGuard()], 1)
    numbers = itertools.count()
    epochs(old, numbers, OLD_EPOCHS)

    def young_epochs() -> float:
        own = itertools.count()
        session = begun([EarlyStopping("val_loss", patience=10 * OLD), NaNGuard()], 1)
        epochs(session, own, EPOCHS)
        return epochs(session, own, EPOCHS)

    figures = measure(
        {f"after {EPOCHS:,} epochs": young_epochs, f"after {OLD_EPOCHS:,} epochs": lambda: epochs(old, numbers, EPOCHS)}, rounds
    )
    found = Table("the end of one epoch, EarlyStopping and NaNGuard", "us", figures, floor=f"after {EPOCHS:,} epochs")
    assert len(old.run.history) == OLD_EPOCHS + (1 + rounds) * EPOCHS  # noqa: S101 - the check
    yield found
    yield Gate(f"the end of one epoch after {OLD_EPOCHS:,}, x after {EPOCHS:,}", found.ratio(*reversed(figures))[1], FLAT)


def epochs(session: Session, numbers: Iterator[int], number: int) -> float:
    """Run the ends of `number` epochs; return the seconds of one."""
    metrics = Metrics(METRICS)
    began = time.perf_counter()
    for epoch in itertools.islice(numbers, number):
        session.epoch_end(epoch, metrics)
    return (time.perf_counter() - began) / number


def starts(rounds: int) -> Iterator[Table | Gate]:
    """Measure the start of a run."""
    kinds: dict[str, Callable[[], object]] = {
        "plugins with every hook": RecordingPlugin,
        "EarlyStopping": lambda: EarlyStopping("loss"),
    }
    for kind, make in kinds.items():
        engines = {k: engine_of([make() for _ in range(k)]) for k in PLUGINS}
        ways: dict[str, Callable[[], float]] = {f"start with {k}": _start(engines[k]) for k in PLUGINS}
        ways |= {f"Engine of {k}": _making(make, k) for k in PLUGINS}
        floor = f"pluggy registers {PLUGINS[-1]}"
        ways[floor] = _registering(make, PLUGINS[-1])
        figures = measure(ways, rounds)
        table = Table(f"start of a run with N plugins: {kind}", "ms", figures, floor=floor)
        yield table
        few, many = (statistics.median(figures[f"start with {k}"]) / k for k in PLUGINS[1:])
        start = f"start with {PLUGINS[-1]}"
        yield Gate(f"{kind}: {start}, x {floor}", table.ratio(start, floor)[1], START)
        yield Gate(f"{kind}: start, for each of 50 x for each of 10", many / few, LINEAR)


def _start(of: Engine) -> Callable[[], float]:
    def start() -> float:
        dispatch.code_of.cache_clear()
        began = time.perf_counter()
        session = of.start(Run())
        session.train_begin()
        taken = time.perf_counter() - began
        session.end()
        return taken

    return start


def _making(make: Callable[[], object], k: int) -> Callable[[], float]:
    def making() -> float:
        began = time.perf_counter()
        engine_of([make() for _ in range(k)])
        return time.perf_counter() - began

    return making


def _registering(make: Callable[[], object], k: int) -> Callable[[], float]:
    def registering() -> float:
        plugins = [make() for _ in range(k)]
        began = time.perf_counter()
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(specs)
        for number, plugin in enumerate(plugins):
            manager.register(plugin, f"plugin_{number}")
        return time.perf_counter() - began

    return registering


@benchmark
@click.option("--rounds", default=41, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print how the costs grow."""
    yield from implementing(rounds)
    yield from not_implementing(rounds)
    yield from steps(rounds)
    yield from starts(min(rounds, 15))


if __name__ == "__main__":
    main()
