"""A loop, plugins and runs for the tests of the driver."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Engine, Position, Run, hookimpl, state
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.testing import ScriptedTrainee

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from hookcore import Capture


class BoomError(Exception):
    """The error that a plugin, a host or a framework raises here."""


@attrs.define(eq=False)
class Tiny(NoHost):
    """A loop that records what the driver asks of it."""

    name: str = "tiny"
    stops: int = 0
    refuses: bool = False
    loaded: list[tuple[Mapping[str, Any], Position]] = attrs.field(factory=list)

    def stop(self) -> None:
        self.stops += 1

    def state_dict(self) -> Mapping[str, Any]:
        return {"shuffled": 3}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        self.loaded.append((state, position))
        if self.refuses:
            raise BoomError("the loop's state")


@attrs.define(eq=False)
class Counting(ScriptedTrainee):
    """A trainee that counts its snapshots."""

    snapshots: int = 0

    def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
        self.snapshots += 1
        return super().snapshot(optimizer=optimizer)


def plugin(name: str, **hooks: Callable[..., Any]) -> SimpleNamespace:
    """Return a plugin of plain functions."""
    return SimpleNamespace(name=name, **{hook: hookimpl(function) for hook, function in hooks.items()})


def driver_of(*plugins: object, host: NoHost | None = None, **options: Any) -> Driver:
    return Driver(Engine(plugins, autoload=False), host=host or Tiny(), **options)


def a_run(trainee: ScriptedTrainee | None = None) -> Run:
    return Run.of(trainee or ScriptedTrainee())


def begun(*plugins: object, host: NoHost | None = None, trainee: ScriptedTrainee | None = None, **options: Any) -> Driver:
    """Return a driver in a run that has begun."""
    driver = driver_of(*plugins, host=host)
    driver.begin(a_run(trainee), **options)
    return driver


def run_of(driver: Driver) -> Run:
    assert driver.run is not None
    return driver.run


def train(driver: Driver, run: Run | None = None, epochs: int = 1) -> Run:
    """Tell a complete run, which calls every hook except `on_exception`."""
    run = run or a_run()
    driver.begin(run)
    for _ in range(epochs):
        driver.epoch_begin()
        driver.batch_begin()
        driver.batch_end({"loss": 2.0})
        driver.evaluate_begin()
        driver.evaluate_batch_begin()
        driver.evaluate_batch_end({"loss": 3.0})
        driver.evaluate_end({"loss": 3.0}, named={"val_loss": 3.0})
        driver.predict_begin()
        driver.predict_batch_begin()
        driver.predict_batch_end()
        driver.predict_end()
        driver.epoch_end({"loss": 2.0})
    driver.end()
    return run


TRAINING: dict[str, Callable[[Driver], object]] = {
    "epoch_begin": Driver.epoch_begin,
    "batch_begin": Driver.batch_begin,
    "batch_end": Driver.batch_end,
    "batch_held": Driver.batch_held,
    "settled": Driver.settled,
    "update": lambda driver: driver.update(1),
    "batch_dropped": Driver.batch_dropped,
    "batch_skipped": Driver.batch_skipped,
    "begin_again": Driver.begin_again,
    "log": lambda driver: driver.log({"loss": 1.0}),
    "epoch_end": Driver.epoch_end,
    "leave": Driver.leave,
    "batches": Driver.batches,
}


OBSERVING: dict[str, Callable[[Driver], object]] = {
    name: getattr(Driver, name)
    for name in [
        "evaluate_begin",
        "evaluate_batch_begin",
        "evaluate_batch_end",
        "evaluate_end",
        "predict_begin",
        "predict_batch_begin",
        "predict_batch_end",
        "predict_end",
    ]
}


def asking(name: str, hook: str, captures: list[Capture], **more: Any) -> SimpleNamespace:
    """Return a plugin that asks for a capture in `hook`."""
    return plugin(name, **{hook: lambda run: run.when_settled(captures.append)}, **more)


@attrs.define(eq=False)
class Stateful:
    """Counts the batches and epochs that ended, called in the order that a test chooses."""

    seen: int = 0

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.seen = state["seen"]


def state_in(capture: Capture, name: str) -> Any:
    return state.loads(capture.record)["plugins"][name]["state"]


def hold_and_evaluate(driver: Driver, *losses: float) -> None:
    """Tell of a held batch, with an evaluation for each of `losses`."""
    driver.batch_held({"loss": 9.0})
    for loss in losses:
        driver.evaluate_end({"loss": loss}, named={"val_loss": loss})


def pressing(driver: Driver, capfd: pytest.CaptureFixture[str]) -> str:
    """Return what a first Ctrl-C writes."""
    signal.raise_signal(signal.SIGINT)
    written = capfd.readouterr().err
    driver.end(KeyboardInterrupt())
    return written
