"""How much of a run's time each plugin takes, by a clock that moves only when a test moves it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar

import attrs
import pytest

from hookcore import Engine, Metrics, Run, SavedCheckpoint, Session, hookimpl
from hookcore.timing import FIRST_WINDOW, SAMPLED, SLOW
from hookcore_adapters.loop import Loop

QUICK = SLOW / 10


@attrs.define
class Clock:
    """Returns the sum of the times that the plugins claim to work."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def session_of(clock: Clock, **plugins: object) -> Session:
    return Session(Run(), Engine(list(plugins.items()), autoload=False).plugins, {}, clock=clock)


def train(session: Session, batches: int) -> Mapping[str, float]:
    """Train one epoch of `batches` batches."""
    session.train_begin()
    session.epoch_begin(0)
    for batch in range(batches):
        session.batch_begin(batch)
        session.batch_end(batch, Metrics())
    session.epoch_end(0, Metrics(), {})
    session.end()
    return session.run.plugin_seconds


@attrs.define(eq=False)
class Works:
    """Works for a given time at each moment that has a duration."""

    clock: Clock
    epoch: float = 0.0
    begin: float = 0.0
    end: Callable[[int], float] = lambda _: 0.0
    calls: int = 0

    @hookimpl
    def on_epoch_begin(self) -> None:
        self.clock.work(self.epoch)

    @hookimpl
    def on_batch_begin(self) -> None:
        self.clock.work(self.begin)

    @hookimpl
    def on_batch_end(self, batch: int) -> None:
        self.calls += 1
        self.clock.work(self.end(batch))


def test_hooks_that_are_rare_are_timed_at_each_call() -> None:
    """A plugin's seconds are those of its own hooks, and all plugins are listed."""
    clock = Clock()
    assert train(session_of(clock, one=Works(clock, epoch=2.0), two=Works(clock, epoch=0.5)), 0) == {"one": 2.0, "two": 0.5}


def test_the_first_batches_are_timed_exactly() -> None:
    """In a run of few batches no time is estimated."""
    clock = Clock()
    found = train(session_of(clock, one=Works(clock, begin=QUICK, end=lambda batch: QUICK * (batch % 7))), FIRST_WINDOW)
    assert found["one"] == pytest.approx(clock.now)


def test_quick_work_is_estimated_from_one_batch_in_many() -> None:
    """In a long run few batches are timed and the total is estimated, and every batch reaches the plugin."""
    clock, looked = Clock(), 0

    def counted() -> float:
        nonlocal looked
        looked += 1
        return clock()

    batches = FIRST_WINDOW + 100 * SAMPLED
    works = Works(clock, begin=QUICK, end=lambda _: 2 * QUICK)
    session = Session(Run(), Engine([("one", works)], autoload=False).plugins, {}, clock=counted)
    assert train(session, batches)["one"] == pytest.approx(clock.now)
    assert works.calls == batches
    # Two readings per call: of two hooks for each timed batch, and of one for the epoch.
    assert looked == 2 * (2 * (FIRST_WINDOW + 100) + 1)


@pytest.mark.parametrize("period", [10, 64, 500, 1000])
def test_slow_work_every_so_many_batches_is_not_missed(period: int) -> None:
    """Work that takes a second at every Nth batch is timed in the first batches, and then every time."""
    clock = Clock()
    works = Works(clock, end=lambda batch: 1.0 if (batch + 1) % period == 0 else 0.0)
    assert train(session_of(clock, one=works), 20 * 1000)["one"] == pytest.approx(clock.now)


def test_slow_work_that_begins_late_is_not_multiplied() -> None:
    """If a sample meets a slow call, that counts once, and each of the batches that follow is timed."""
    clock, first = Clock(), FIRST_WINDOW + SAMPLED - 1
    works = Works(clock, end=lambda batch: 1.0 if batch in {first, first + 10} else QUICK)
    found = train(session_of(clock, one=works), first + 100)
    # Only the batches that the sample stands for are lost.
    assert found["one"] == pytest.approx(clock.now - (SAMPLED - 1) * QUICK)


def test_epochs_are_no_sample() -> None:
    """Work that is done once per epoch counts once, however few batches are timed by then."""
    clock = Clock()
    session = session_of(clock, one=Works(clock, epoch=2.0))
    train(session, FIRST_WINDOW + 10 * SAMPLED)
    session.epoch_begin(1)
    assert session.run.plugin_seconds == {"one": 4.0}


def test_estimates_go_on_when_slow_work_is_over() -> None:
    """After a while without slow work, few batches are timed again."""
    clock, looked = Clock(), 0

    def counted() -> float:
        nonlocal looked
        looked += 1
        return clock()

    works = Works(clock, end=lambda batch: 1.0 if batch == 0 else 0.0)
    session = Session(Run(), Engine([("one", works)], autoload=False).plugins, {}, clock=counted)
    train(session, 2 * FIRST_WINDOW + 10 * SAMPLED)
    assert looked == 2 * (2 * (2 * FIRST_WINDOW + 10) + 1)


def test_time_in_another_plugin_is_its_own() -> None:
    """Time that a plugin takes in `on_checkpoint` does not count as that of the plugin that saved."""

    class Saves:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            clock.work(1.0)
            run.checkpoint_saved(checkpoint)
            clock.work(2.0)

    class Hears:
        @hookimpl
        def on_checkpoint(self) -> None:
            clock.work(10.0)

    clock, checkpoint = Clock(), SavedCheckpoint(path=None, epoch=0, step=0)  # type: ignore[arg-type]  # no plugin looks
    assert train(session_of(clock, saves=Saves(), hears=Hears()), 1) == {"saves": 3.0, "hears": 10.0}


def test_a_wrapper_is_timed_without_what_it_wraps() -> None:
    """Both halves of a wrapper count, but not what it wraps; values and errors that are sent into it arrive."""

    class Wraps:
        seen: ClassVar[list[object]] = []

        @hookimpl(wrapper=True)
        def on_epoch_begin(self) -> Generator[None, object, object]:
            clock.work(1.0)
            self.seen.append((yield))
            clock.work(2.0)
            return None

        @hookimpl(wrapper=True)
        def on_epoch_end(self) -> Generator[None, object, object]:
            try:
                yield
            except ValueError as error:
                clock.work(4.0)
                self.seen.append(str(error))
            return None

    class Fails:
        @hookimpl
        def on_epoch_end(self) -> None:
            clock.work(16.0)
            raise ValueError("thrown")

    clock = Clock()
    found = train(session_of(clock, wraps=Wraps(), works=Works(clock, epoch=8.0), fails=Fails()), 1)
    assert found == {"wraps": 7.0, "works": 8.0, "fails": 16.0}
    assert Wraps.seen == [None, "thrown"]


def test_a_plugin_that_is_disabled_takes_no_more() -> None:
    """The time of a disabled plugin stops, and the others are timed as before, even if it happens in a timed batch."""

    class Broken:
        role: ClassVar[str] = "observer"

        @hookimpl
        def on_batch_end(self) -> None:
            clock.work(QUICK)
            raise OSError

    clock = Clock()
    works = Works(clock, end=lambda _: QUICK)
    found = train(session_of(clock, broken=Broken(), works=works), FIRST_WINDOW + 10 * SAMPLED)
    assert found == {"broken": pytest.approx(QUICK), "works": pytest.approx((FIRST_WINDOW + 10 * SAMPLED) * QUICK)}


def test_evaluation_batches_are_part_of_the_sample() -> None:
    """Batches of evaluations count in the sample, whether the loop trains or not."""

    class Watches:
        calls = 0

        @hookimpl
        def on_evaluate_batch_begin(self) -> None:
            self.calls += 1
            clock.work(QUICK)

        @hookimpl
        def on_evaluate_batch_end(self) -> None:
            clock.work(QUICK)

    clock, watches, batches = Clock(), Watches(), FIRST_WINDOW + 10 * SAMPLED
    session = session_of(clock, watches=watches)
    session.train_begin()
    for batch in range(batches):
        session.evaluate_batch_begin(batch)
        session.evaluate_batch_end(batch, Metrics())
    assert watches.calls == batches
    assert session.run.plugin_seconds["watches"] == pytest.approx(clock.now)


def test_a_run_tells_the_parameters_of_its_plugins() -> None:
    """A run has its plugins' parameters by name, as JSON-able values, and whether one of them shows progress."""

    class Progress(Works):
        shows_progress: ClassVar[bool] = True

    with Loop([("one", Works(Clock(), epoch=1.5))], epochs=0) as loop:
        pass
    found: Mapping[str, Any] = loop.run.parameters
    assert found == {"one": {"clock": "Clock", "epoch": 1.5, "begin": 0.0, "end": "function", "calls": 0}}
    assert not loop.run.shows_progress
    assert session_of(Clock(), two=Progress(Clock())).run.shows_progress


def test_a_slow_sample_counts_no_more_than_there_was_time() -> None:
    """If the one timed call takes longer than the others, the estimate of all plugins is at most the run's time."""
    clock = Clock()
    sampled = FIRST_WINDOW + SAMPLED - 1
    plugins = [Works(clock, end=lambda call: 5 * QUICK if call == sampled else QUICK / 100) for _ in range(2)]
    seconds = train(session_of(clock, one=plugins[0], other=plugins[1]), FIRST_WINDOW + SAMPLED)
    assert 0 < sum(seconds.values()) <= clock.now * (1 + 1e-9)
