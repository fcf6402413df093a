"""A directory of checkpoints keeps its promise after a loss of power at any moment, and needs each of its syncs for it."""

from __future__ import annotations

import gc
import threading
import warnings
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import store
from hookcore.store import Retention
from tests.hookcore.store.checkpoints import save, small
from tests.power.crashes import (
    LONG,
    PowerLossError,
    Recorder,
    Step,
    any_crash,
    crashes,
    states,
    swaps,
    syncs,
    without,
)
from tests.power.looking import Looking, Promise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@attrs.define
class Life:
    """A directory that is written to, and its promise."""

    recorder: Recorder
    promise: Promise = attrs.field(factory=Promise)

    @property
    def root(self) -> Path:
        return self.recorder.root / "made" / "runs"

    def promises(self, **changes: object) -> None:
        self.promise = attrs.evolve(self.promise, **changes)  # type: ignore[arg-type]
        self.recorder.promise(self.promise)

    def open(self) -> store.Lock:
        lock = store.lock(self.root)
        store.open_directory(self.root)
        return lock

    def save(self, step: int, value: float) -> None:
        save(self.root, step, value, files=small)
        best = min(self.promise.best or value, value)
        self.promises(newest=value, best=best, whole=self.promise.whole | {value})

    def may_go(self, *values: float) -> None:
        self.promises(whole=self.promise.whole - set(values))


def saves_and_prunes(life: Life) -> None:
    """Save three, and remove the middle one."""
    lock = life.open()
    for step in (1, 2, 3):
        life.save(step, float(step))
    life.may_go(2.0)
    store.prune(life.root, Retention(last=1, best=1))
    life.promises(gone=frozenset({2.0}))
    lock.release()


def saves_again(life: Life) -> None:
    """Replace the newest by another one of its step, and remove that."""
    lock = life.open()
    life.save(1, 1.0)
    life.save(2, 2.0)
    life.may_go(2.0)
    life.save(2, 3.0)
    life.promises(newest=0.0, best=0.0, whole=frozenset({1.0}))
    store.remove(life.root / store.name_of(2))
    life.promises(gone=frozenset({3.0}))
    lock.release()


def removes(life: Life) -> None:
    """Save one, and remove it."""
    lock = life.open()
    life.save(1, 1.0)
    life.promises(newest=0.0, best=0.0, whole=frozenset[float]())
    store.remove(life.root / store.name_of(1))
    life.promises(gone=frozenset({1.0}))
    lock.release()


def sets_aside(life: Life) -> None:
    """Begin another run in a directory that has checkpoints, and save."""
    lock = life.open()
    life.save(1, 1.0)
    life.save(2, 2.0)
    life.promises(newest=0.0, best=0.0)
    store.set_aside(life.root)
    life.promises(gone=frozenset({1.0, 2.0}))
    life.save(1, 3.0)
    lock.release()


def starts_again(life: Life) -> None:
    """Remove all, and save a new one."""
    lock = life.open()
    life.save(1, 1.0)
    life.save(2, 2.0)
    life.promises(newest=0.0, best=0.0, whole=frozenset[float]())
    store.clear(life.root)
    life.promises(gone=frozenset({1.0, 2.0}))
    life.save(1, 3.0)
    lock.release()


def continues(life: Life) -> None:
    """Open the directory in the next process, save the newest step again, and then one more."""
    lock = life.open()
    there = store.available(life.root)
    step = there[-1].step if there else 1
    life.may_go(*(one.value or 0.0 for one in there[-1:]))
    life.promises(best=0.0)
    life.save(step, 9.0)
    life.save(step + 1, 10.0)
    lock.release()


def continues_unopened(life: Life) -> None:
    """Save the newest step again, and remove it, without opening the directory."""
    there = store.available(life.root)
    step = there[-1].step if there else 1
    life.may_go(*(one.value or 0.0 for one in there[-1:]))
    life.promises(best=0.0)
    life.save(step, 9.0)
    life.promises(newest=0.0, best=0.0, whole=life.promise.whole - {9.0})
    store.remove(life.root / store.name_of(step))
    life.promises(gone=frozenset({9.0}))


def clears_unopened(life: Life) -> None:
    """Remove all, without opening the directory, and save another one."""
    life.promises(newest=0.0, best=0.0, whole=frozenset[float]())
    store.clear(life.root)
    life.save(1, 9.0)


Recorded: TypeAlias = "dict[Callable[[Life], None], list[Step]]"
LIVES: Final = [saves_and_prunes, saves_again, removes, sets_aside, starts_again]


def record(
    live: Callable[[Life], None], root: Path, dies_after: int | None = None, then: Callable[[Life], None] | None = None
) -> list[Step]:
    """Return the steps of a life, or of one that is killed after N steps, with those of the life that follows."""
    root.mkdir(parents=True)
    life = Life(Recorder(root))
    with pytest.MonkeyPatch.context() as patch:
        if dies_after is not None:  # with one thread, a kill ends everything at the same step
            patch.setattr(threading.Thread, "start", _no_thread)
        life.recorder.install(patch)
        life.recorder.dies_after = dies_after
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # a killed process closes nothing
            try:
                live(life)
            except PowerLossError:
                life.recorder.is_dead = True
            gc.collect(1)
        life.recorder.is_dead, life.recorder.dies_after = False, None
        if then is not None:
            then(life)
    return life.recorder.trace


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError(f"{thread} is not started")


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Looking:
    """Return one object for all tests, as many check the same states."""
    return Looking(tmp_path_factory.mktemp("looking"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[list[Step]]:
    """Record each life killed before each of its steps, with another life that follows."""
    root = tmp_path_factory.mktemp("killed")
    cases = [(live, continues) for live in LIVES]
    cases += [(live, then) for live in LIVES[:3] for then in (continues_unopened, clears_unopened)]
    return [
        record(live, root / f"{live.__name__} {then.__name__} {number}", number, then)
        for live, then in cases
        for number in range(len(record(live, root / f"{live.__name__} {then.__name__}")))
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Record each life."""
    root = tmp_path_factory.mktemp("recorded")
    return {live: record(live, root / live.__name__) for live in LIVES}


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_the_promise_holds_whenever_the_power_is_lost(live: Callable[[Life], None], looking: Looking, recorded: Recorded) -> None:
    """With up to two steps missing or torn at any moment, announced checkpoints are whole, and no damaged one has a name."""
    trace = recorded[live]
    assert looking.first_broken(crashes(trace, 3 if LONG else 2)) is None


@given(st.data())
@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_the_promise_holds_whatever_is_missing(
    live: Callable[[Life], None], looking: Looking, recorded: Recorded, data: st.DataObject
) -> None:
    """The promise holds with any number of steps missing or torn."""
    assert looking.broken(data.draw(any_crash(recorded[live]))) is None


def test_the_promise_holds_if_a_run_was_killed_before(looking: Looking, killed: list[list[Step]]) -> None:
    """Steps that a killed process had not synced may still be lost after the next process has built on them."""
    assert len(killed) > 300
    for trace in killed:
        assert looking.first_broken(crashes(trace, 2 if LONG else 1)) is None


def test_each_sync_is_needed(looking: Looking, killed: list[list[Step]], recorded: Recorded) -> None:
    """If any one sync is removed from the code, a promise is broken."""
    traces = [*recorded.values(), *killed]
    sites = {site for trace in traces for site in syncs(trace)}
    assert len(sites) > 8
    for site in sites:
        mutated = (without(trace, site) for trace in traces if site in syncs(trace))
        assert any(looking.first_broken(crashes(trace, 1)) for trace in mutated), f"{site} is not needed"


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_the_order_is_needed(live: Callable[[Life], None], looking: Looking, recorded: Recorded) -> None:
    """If two neighbouring steps are swapped, a promise is broken, or no new state is possible."""
    trace = recorded[live]
    before, caught = states(trace), 0
    for what, swapped in swaps(trace):
        if not states(swapped) <= before:
            caught += 1
            assert looking.first_broken(crashes(swapped)) is not None, f"no promise breaks with {what}"
    assert caught > 5
