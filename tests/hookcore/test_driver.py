"""The driver: whatever an adapter tells it, plugins get complete runs, and each mistake of the adapter is one clear error."""

from __future__ import annotations

import ast
import gc
import logging
import math
import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from hookcore import (
    HOOKS,
    CheckpointError,
    Engine,
    HookcoreError,
    MetricError,
    Outcome,
    ParameterError,
    Position,
    Run,
    SavedCheckpoint,
    hookimpl,
    state,
    store,
)
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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

# Facts outside of a run


@pytest.mark.parametrize("fact", TRAINING)
def test_a_fact_of_training_outside_of_a_run_is_an_error_that_names_loop_and_fact(fact: str) -> None:
    """Before and after a run, and around a separate evaluation, a fact of training is an error, and no plugin is called."""
    recording = RecordingPlugin()
    driver = driver_of(recording)
    message = rf"(?m)^tiny told of {fact} outside of a run\. Call Driver\.begin first\.$"
    with pytest.raises(HookcoreError, match=message):
        TRAINING[fact](driver)
    run = train(driver)
    heard, steps = list(recording.events), run.progress.step
    with pytest.raises(HookcoreError, match=message):
        TRAINING[fact](driver)
    driver.outside(ScriptedTrainee())
    with pytest.raises(HookcoreError, match=message):
        TRAINING[fact](driver)
    assert (recording.events, run.progress.step, run.outcome) == (heard, steps, Outcome.COMPLETED)
    driver.evaluate_end()
    assert recording.hooks[-2:] == ["on_evaluate_begin", "on_evaluate_end"]


@pytest.mark.parametrize("fact", OBSERVING)
def test_an_evaluation_outside_of_a_run_needs_to_be_announced(fact: str) -> None:
    """Evaluations and predictions need a run or `outside`, and the error names both."""
    driver = driver_of(RecordingPlugin())
    with pytest.raises(
        HookcoreError, match=rf"^tiny told of {fact} outside of a run\. Call Driver\.begin first, or Driver\.outside"
    ):
        OBSERVING[fact](driver)
    driver.outside(ScriptedTrainee())
    OBSERVING[fact](driver)


def test_an_evaluation_by_itself_leaves_run_and_plugins_alone() -> None:
    """A separate evaluation changes neither the latest run nor the plugins' state, and its votes do not reach the loop."""

    @attrs.define(eq=False)
    class Counts:
        epochs: int = 0

        @hookimpl
        def on_epoch_end(self) -> None:
            self.epochs += 1

        @hookimpl
        def on_evaluate_end(self, run: Run) -> None:
            if self.epochs == 2:
                run.stop("seen enough")

        def state_dict(self) -> dict[str, int]:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: Mapping[str, int]) -> None:
            self.epochs = state["epochs"]

    counts, recording, host = Counts(), RecordingPlugin(), Tiny()
    driver = driver_of(counts, recording, host=host)
    run = train(driver, epochs=2)
    for _ in range(2):
        driver.outside(ScriptedTrainee())
        driver.evaluate_begin()
        driver.evaluate_end({"loss": 1.0})
        assert not driver.stopping
    driver.end()
    assert (driver.run, run.outcome, run.stop_reasons, counts.epochs, host.stops) == (run, Outcome.COMPLETED, [], 2, 0)
    assert run.history["val_loss"] == [3.0, 3.0]
    driver.outside(ScriptedTrainee())
    driver.evaluate_begin()  # breaks off
    second = train(driver)
    assert (driver.run, second.outcome, counts.epochs) == (second, Outcome.COMPLETED, 1)
    check_events(recording.events)


def test_a_vote_in_an_evaluation_by_itself_is_not_passed_on() -> None:
    """A vote to stop in a separate evaluation does not reach the loop, which is not training."""
    host = Tiny()
    driver = driver_of(plugin("votes", on_evaluate_end=lambda run: run.stop("seen enough")), host=host)
    driver.outside(ScriptedTrainee())
    driver.evaluate_end()
    assert host.stops == 0


def test_a_run_that_goes_on_is_not_left_for_an_evaluation() -> None:
    """Within a run `outside` does nothing, and the evaluation that follows belongs to the run."""
    driver = begun(RecordingPlugin())
    driver.epoch_begin()
    driver.outside(ScriptedTrainee())
    driver.evaluate_end({"loss": 1.0}, named={"val_loss": 1.0})
    driver.epoch_end()
    driver.end()
    assert run_of(driver).history["val_loss"] == [1.0]


def test_an_error_in_an_evaluation_by_itself_ends_only_that() -> None:
    """An error in a separate evaluation reaches the caller, and the next evaluation needs `outside` again."""
    errors = [BoomError()]

    def raises() -> None:
        if errors:
            raise errors.pop()

    recording = RecordingPlugin()
    driver = driver_of(plugin("raising", on_evaluate_begin=raises), recording)
    driver.outside(ScriptedTrainee())
    with pytest.raises(BoomError):
        driver.evaluate_begin()
    with pytest.raises(HookcoreError, match="told of evaluate_end outside of a run"):
        driver.evaluate_end()
    assert recording.hooks == ["on_evaluate_begin"]
    assert train(driver).outcome is Outcome.COMPLETED


# How a run ends


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook != "on_exception"])
def test_a_plugin_that_raises_ends_the_run_in_order(hook: str) -> None:
    """If a plugin raises in any hook, the run fails, the others get its end, the caller gets the error, and another run works."""
    errors = [BoomError(hook)]

    def raises() -> None:
        if errors:
            raise errors.pop()

    def announce(run: Run) -> None:
        run.checkpoint_saved(SavedCheckpoint(path=Path("step-1"), epoch=0, step=1))

    before, after = RecordingPlugin("before"), RecordingPlugin("after")
    driver = driver_of(before, plugin("raising", **{hook: raises}), plugin("saving", on_epoch_end=announce), after)
    run = a_run()
    with pytest.raises(BoomError, match=hook) as raised:
        train(driver, run)
    assert run.outcome is Outcome.FAILED
    assert "Raised by plugin 'raising'" in raised.value.__notes__[0]
    for recording in (before, after):
        assert recording.hooks[0] == "on_train_begin"
        assert recording.hooks[-1] == "on_train_end"
        assert hook in recording.hooks
        assert ("on_exception" in recording.hooks) == (hook != "on_train_end")
    with pytest.raises(HookcoreError, match="outside of a run"):
        driver.epoch_end()
    assert train(driver).outcome is Outcome.COMPLETED
    check_events(before.events)
    check_events(after.events)


def test_an_error_in_on_exception_is_a_note_on_the_first() -> None:
    """The caller gets the error that the framework raised; an error of a plugin in `on_exception` is a note on it."""

    def raises() -> None:
        raise ValueError("second")

    recording = RecordingPlugin()
    driver = begun(plugin("raising", on_exception=raises), recording)
    driver.epoch_begin()
    error = BoomError("first")
    driver.end(error)
    assert recording.events[-2:] == [("on_exception", error), ("on_train_end", Outcome.FAILED)]
    assert "ValueError: second" in error.__notes__[0]
    assert train(driver_of(recording)).outcome is Outcome.COMPLETED


def test_the_second_end_does_nothing() -> None:
    """An error or a reason to stop that comes after the end does not change the run."""
    recording = RecordingPlugin()
    driver = begun(recording)
    driver.end()
    for again in ({}, {"error": BoomError()}, {"by": "too late"}):
        driver.end(**again)
    run = run_of(driver)
    assert (run.outcome, run.stop_reasons, recording.hooks) == (Outcome.COMPLETED, [], ["on_train_begin", "on_train_end"])


def test_the_end_of_a_run_ends_what_is_open() -> None:
    """The end of the run ends an open evaluation and epoch, in order; a batch that never ended gets no end."""
    recording = RecordingPlugin()
    driver = begun(recording)
    driver.batch_begin()
    driver.batch_held({"loss": 1.0})
    driver.evaluate_batch_begin()
    driver.end()
    assert recording.hooks == [
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_evaluate_begin",
        "on_evaluate_batch_begin",
        "on_evaluate_end",
        "on_epoch_end",
        "on_metrics",
        "on_train_end",
    ]


def test_an_abandoned_run_ends_when_the_next_begins(tmp_path: Path) -> None:
    """A run whose end was never reported ends as failed when the next begins: every plugin gets the end, and locks are free."""
    recording = RecordingPlugin()
    driver = begun(recording, Checkpoint(tmp_path))
    driver.epoch_begin()
    driver.batch_end()
    first = run_of(driver)
    assert (tmp_path / ".lock").exists()
    driver.engine.unregister("checkpoint")
    driver.begin(a_run())
    assert first.outcome is Outcome.FAILED
    assert not (tmp_path / ".lock").exists()
    _, (_, error), _, _ = recording.events[-4:]
    assert "An earlier run of tiny ended with an exception that was not reported" in str(error)
    assert recording.hooks[-3:] == ["on_exception", "on_train_end", "on_train_begin"]
    driver.end()
    assert run_of(driver).outcome is Outcome.COMPLETED
    check_events(recording.events)


def test_a_run_begins_in_the_directory_of_the_abandoned_one(tmp_path: Path) -> None:
    """After a run without an end, the same driver and the same Checkpoint can begin another."""
    driver = begun(Checkpoint(tmp_path))
    driver.epoch_begin()
    driver.epoch_end()
    assert train(driver).outcome is Outcome.COMPLETED
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_a_stop_by_something_other_than_a_plugin_is_named() -> None:
    """`end(by=...)` records the reason under the loop's name, and does not tell the loop to stop."""
    host = Tiny()
    driver = begun(RecordingPlugin(), host=host, min_epochs=9)
    driver.epoch_begin()
    driver.end(by="max_time is over")
    run = run_of(driver)
    assert [(vote.plugin, vote.message) for vote in run.stop_reasons] == [("tiny", "max_time is over")]
    assert (run.outcome, host.stops) == (Outcome.STOPPED, 0)


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end"])
def test_a_plugin_that_voted_stopped_the_run(hook: str) -> None:
    """If a plugin has voted, even at the end of the last epoch, its vote is the reason, and `by` is ignored."""
    driver = begun(plugin("voting", **{hook: lambda run: run.stop("enough")}))
    driver.batch_end()
    driver.end(by="max_time is over")
    assert [vote.plugin for vote in run_of(driver).stop_reasons] == ["voting"]


# Votes


def test_the_loop_is_told_to_stop_once_for_each_vote() -> None:
    """Each vote that counts tells the loop to stop once, at the moment of the vote."""
    host = Tiny()
    votes = plugin("votes", on_train_begin=lambda run: run.stop("first"), on_batch_end=lambda run: run.stop("again"))
    driver = begun(votes, host=host)
    assert (host.stops, driver.stopping) == (1, True)
    driver.batch_end()
    assert host.stops == 2
    driver.epoch_end()
    assert host.stops == 2
    driver.end()
    assert (host.stops, driver.stopping, run_of(driver).outcome) == (2, False, Outcome.STOPPED)


def test_a_vote_when_training_is_over_is_not_passed_on() -> None:
    """A vote in `on_train_end` does not reach the loop, which has ended, and does not change the outcome."""
    host = Tiny()
    run = train(driver_of(plugin("late", on_train_end=lambda run: run.stop("late")), host=host))
    assert (host.stops, run.outcome) == (0, Outcome.COMPLETED)


def test_votes_before_the_least_number_of_epochs_are_overruled(caplog: pytest.LogCaptureFixture) -> None:
    """A vote before `min_epochs` is dropped and logged; given again at the end of the last of these epochs, it counts."""
    host, voting = Tiny(), {0, 1}
    driver = begun(
        plugin("once", on_epoch_end=lambda run, epoch: run.stop(f"epoch {epoch}") if epoch in voting else None),
        plugin("early", on_train_begin=lambda run: run.stop("at once")),
        host=host,
        min_epochs=3,
    )
    with caplog.at_level(logging.INFO, "hookcore"):
        for _ in range(3):
            assert not driver.stopping
            driver.epoch_begin()
            driver.batch_end()
            driver.epoch_end()
    assert (host.stops, driver.stopping) == (0, False)
    assert [record.getMessage() for record in caplog.records if "overruled" in record.getMessage()] == [
        f"once: overruled: tiny does 3 epochs at least: epoch {epoch}" for epoch in (0, 1)
    ]
    voting.add(3)
    driver.epoch_begin()
    driver.epoch_end()
    assert (host.stops, driver.stopping) == (1, True)
    driver.end()
    assert [vote.message for vote in run_of(driver).stop_reasons] == ["epoch 3"]


def test_votes_before_the_least_number_of_steps_are_overruled(caplog: pytest.LogCaptureFixture) -> None:
    """A vote before `min_steps` updates is dropped and logged, and counts later only if it is given again."""
    host = Tiny()
    votes = plugin("votes", on_batch_end=lambda run: run.stop("again") if run.progress.step in {1, 3} else None)
    driver = begun(votes, host=host, min_steps=3)
    with caplog.at_level(logging.INFO, "hookcore"):
        driver.batch_end()
        driver.batch_end()
    assert (host.stops, driver.stopping) == (0, False)
    assert "votes: overruled: tiny does 3 steps at least: again" in caplog.text
    driver.batch_end()
    assert (host.stops, driver.stopping) == (1, True)


def test_the_end_of_the_last_of_the_least_epochs_may_stop() -> None:
    """With `min_epochs=1` a vote in a batch of the first epoch is overruled, and a vote at its end counts."""
    host = Tiny()
    votes = plugin("votes", on_batch_end=lambda run: run.stop("batch"), on_epoch_end=lambda run: run.stop("epoch"))
    driver = begun(votes, host=host, min_epochs=1)
    driver.batch_end()
    assert host.stops == 0
    driver.epoch_end()
    assert [vote.message for vote in run_of(driver).stop_reasons] == ["epoch"]
    assert host.stops == 1


# Beginning and resuming


def saved_by(directory: Path, *plugins: object) -> SavedCheckpoint:
    """Return the checkpoint of a run that was cut after two batches of its second epoch."""
    driver = driver_of(Checkpoint(directory), *plugins)
    driver.begin(a_run())
    driver.epoch_begin()
    driver.epoch_end()
    driver.epoch_begin()
    driver.batch_end()
    driver.batch_end()
    driver.end(KeyboardInterrupt())
    return store.newest(directory)


def test_a_resumed_run_tells_the_loop_where_it_is(tmp_path: Path) -> None:
    """The loop gets its own state and the position before `on_train_begin`, and the epoch that was cut does not begin twice."""
    saved = saved_by(tmp_path)
    recording, host = RecordingPlugin(), Tiny()
    driver = driver_of(recording, host=host, resume=saved.path)
    assert driver.find(ScriptedTrainee()) == saved
    driver.begin(a_run(), initial_epoch=7)
    ((loaded, position),) = host.loaded
    assert (loaded, position.epoch, position.batch, position.begun) == ({"shuffled": 3}, 1, 2, True)
    assert driver.epoch == 1
    driver.epoch_begin()
    driver.batch_end({"loss": 1.0})
    driver.epoch_end()
    driver.epoch_begin()
    driver.end()
    assert recording.events == [
        ("on_train_begin",),
        ("on_batch_begin", 2),
        ("on_batch_end", 2, {"loss": 1.0}),
        ("on_epoch_end", 1, {}),
        ("on_metrics", {}),
        ("on_epoch_begin", 2),
        ("on_epoch_end", 2, {}),
        ("on_metrics", {}),
        ("on_train_end", Outcome.COMPLETED),
    ]
    assert run_of(driver).resumed_from == saved


@pytest.mark.parametrize("starts", [True, False])
def test_a_run_may_be_restored_before_it_starts(tmp_path: Path, starts: bool) -> None:  # noqa: FBT001 - a parameter
    """After `begin(start=False)` the loop has its position, and plugins are called only from `start` on, or not at all."""
    recording, host = RecordingPlugin(), Tiny()
    driver = driver_of(recording, host=host, resume=saved_by(tmp_path).path)
    driver.begin(a_run(), start=False)
    assert [position.batch for _, position in host.loaded] == [2]
    assert driver.is_running
    assert recording.events == []
    if starts:
        driver.start()
        assert recording.events == [("on_train_begin",)]
    driver.leave()
    driver.end()
    assert recording.events == ([("on_train_begin",), ("on_train_end", Outcome.COMPLETED)] if starts else [])


def test_a_resumed_run_that_was_stopped_stops(tmp_path: Path) -> None:
    """A vote in the checkpoint reaches the loop only at the end of the epoch that was cut, which is finished first."""
    votes, host = plugin("votes", on_batch_end=lambda run: run.stop("enough")), Tiny()
    saved = saved_by(tmp_path, votes)
    driver = driver_of(votes, host=host, resume=saved.path)
    driver.begin(a_run())
    assert (host.stops, driver.stopping) == (0, True)
    driver.epoch_begin()
    assert host.stops == 1


def test_a_run_begins_at_its_initial_epoch() -> None:
    """Epochs count from `initial_epoch`, and the loop gets an empty state."""
    recording, host = RecordingPlugin(), Tiny()
    driver = begun(recording, host=host, initial_epoch=4)
    assert driver.epoch == 3
    driver.epoch_begin()
    assert recording.events[-1] == ("on_epoch_begin", 4)
    assert host.loaded[0][0] == {}


@pytest.mark.parametrize("what", ["loop", "no checkpoint", "record"])
def test_a_run_that_cannot_begin_is_no_run_for_the_plugins(tmp_path: Path, what: str) -> None:
    """If the loop's state, the checkpoint or its record cannot be restored, no plugin is called, and another run can begin."""
    recording, host = RecordingPlugin(), Tiny()
    resume: Any = False
    if what == "loop":
        host.refuses = True
    else:
        resume = tmp_path
    if what == "record":
        store.write(tmp_path, epoch=0, step=1, metric=None, value=None, record="{}", files=lambda to: (to / "weights").touch())
    driver = driver_of(recording, host=host, resume=resume)
    run = a_run()
    with pytest.raises(BoomError if what == "loop" else CheckpointError):
        driver.begin(run)
    assert recording.events == []
    assert run.outcome is not Outcome.COMPLETED
    with pytest.raises(HookcoreError, match="outside of a run"):
        driver.epoch_begin()
    driver.end()
    host.refuses = False
    if not resume:
        assert run.outcome is Outcome.FAILED
        assert train(driver).outcome is Outcome.COMPLETED


# Metrics


@pytest.mark.parametrize(
    "fact",
    [
        lambda driver, metrics: driver.log(metrics),
        lambda driver, metrics: driver.batch_end(metrics),
        lambda driver, metrics: driver.batch_held(metrics),
        lambda driver, metrics: driver.evaluate_batch_end(metrics),
        lambda driver, metrics: driver.evaluate_end(metrics),
        lambda driver, metrics: driver.evaluate_end(named=metrics),
        lambda driver, metrics: driver.epoch_end(metrics),
    ],
    ids=["log", "batch_end", "batch_held", "evaluate_batch_end", "evaluate_end", "evaluate_end, named", "epoch_end"],
)
@pytest.mark.parametrize("value", ["high", None, object()])
def test_a_metric_that_is_no_number_is_one_clear_error(fact: Callable[[Driver, Any], None], value: object) -> None:
    """If a metric is not a number, the error names it and its value, whichever fact has it, and the run ends."""
    driver = begun(RecordingPlugin())
    driver.epoch_begin()
    with pytest.raises(MetricError, match="Metric 'accuracy' must be a number, got"):  # noqa: PT012 - some wait for the end
        fact(driver, {"loss": 1.0, "accuracy": value})
        driver.epoch_end()
    assert run_of(driver).outcome is Outcome.FAILED


@pytest.mark.parametrize("fact", ["log", "batch_end", "batch_held", "evaluate_batch_end", "evaluate_end", "epoch_end"])
def test_metrics_without_names_are_one_clear_error(fact: str) -> None:
    """If metrics are not a mapping, the error names the loop, the fact and the value."""
    driver = begun(RecordingPlugin())
    with pytest.raises(MetricError, match=rf"(?m)^tiny told of {fact} with metrics that do not map names to numbers: 0\.5\.$"):
        getattr(driver, fact)(0.5)
    assert run_of(driver).outcome is Outcome.FAILED


@pytest.mark.parametrize("fact", ["batch_end", "batch_held"])
@pytest.mark.parametrize("counts", [{"batches": 0}, {"updates": -1}])
def test_a_batchs_end_stands_for_a_batch_at_least(fact: str, counts: dict[str, int]) -> None:
    """Zero batches, or a negative number of updates, are an error that names the loop and the fact, and ends the run."""
    driver = begun(RecordingPlugin())
    with pytest.raises(ParameterError, match=f"^tiny told of {fact} with updates="):
        getattr(driver, fact)(**counts)
    assert run_of(driver).outcome is Outcome.FAILED


def test_metrics_that_come_after_an_epochs_end_are_in_no_epoch() -> None:
    """Metrics that a framework logs between two epochs do not become metrics of the next."""
    driver = begun()
    driver.log({"early": 1.0})
    driver.epoch_begin()
    driver.log({"loss": 2.0})
    driver.epoch_end({"lr": 0.1})
    driver.log({"late": 1.0})
    driver.epoch_begin()
    driver.epoch_end()
    driver.end()
    history = run_of(driver).history
    assert sorted(history) == ["loss", "lr"]
    assert history.epochs == [0, 1]


# Settling


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


class Last(Stateful):
    @hookimpl(trylast=True)
    def on_batch_end(self) -> None:
        self.seen += 1


class Around(Stateful):
    @hookimpl(wrapper=True)
    def on_batch_end(self) -> Generator[None]:
        yield
        self.seen += 1


def state_in(capture: Capture, name: str) -> Any:
    return state.loads(capture.record)["plugins"][name]["state"]


def test_all_who_ask_share_one_capture_of_the_whole_moment() -> None:
    """The capture is taken once, after the last `trylast` implementation and the second half of each wrapper."""
    captures: list[Capture] = []
    trainee = Counting()
    driver = begun(
        ("last", Last()),
        ("around", Around()),
        asking("one", "on_batch_end", captures),
        asking("two", "on_batch_end", captures),
        trainee=trainee,
    )
    driver.batch_end()
    driver.batch_end()
    assert trainee.snapshots == 2
    assert captures[0] is captures[1]
    assert captures[2] is captures[3]
    for number, capture in ((1, captures[0]), (2, captures[2])):
        assert (capture.step, state_in(capture, "last"), state_in(capture, "around")) == (
            number,
            {"seen": number},
            {"seen": number},
        )


@pytest.mark.parametrize("ends", ["settled", "batch_begin", "epoch_end", "end"])
def test_a_held_batch_is_captured_when_it_is_settled(ends: str) -> None:
    """No capture is taken between a held batch, with its evaluation, and the fact that settles it."""
    captures: list[Capture] = []
    driver = begun(asking("asks", "on_batch_end", captures), RecordingPlugin())
    driver.batch_held()
    driver.evaluate_begin()
    driver.evaluate_batch_end()
    driver.evaluate_end()
    assert captures == []
    getattr(driver, ends)()
    assert [capture.step for capture in captures] == [1]


def test_no_capture_is_taken_while_gradients_accumulate() -> None:
    """A plugin that asks within an accumulation gets the capture at the update, or at the epoch's end if that comes first."""
    captures: list[Capture] = []
    driver = begun(asking("asks", "on_batch_end", captures))
    for updates in (0, 0):
        driver.batch_end(updates=updates)
        assert captures == []
    driver.batch_end()
    assert [capture.step for capture in captures] == [1] * 3
    driver.batch_end(updates=0)
    assert len(captures) == 3
    driver.epoch_end()
    position = state.loads(captures[3].record)["position"]
    assert (len(captures), position) == (4, {"epoch": 1, "batch": 0, "begun": False})


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_batch_end", "on_evaluate_end", "on_epoch_end", "on_train_end"]
)
def test_a_capture_can_be_asked_for_in_any_hook(hook: str) -> None:
    """Whichever hook asks, the capture is taken exactly once, by the end of the run at the latest."""
    captures: list[Capture] = []
    train(driver_of(asking("asks", hook, captures)))
    assert len(captures) == 1


@pytest.mark.parametrize("role", ["actor", "observer"])
def test_an_error_in_what_was_asked_for_follows_the_role(role: str) -> None:
    """If `then` raises, an actor's error ends the run and an observer is disabled; other plugins still get the capture."""
    captures: list[Capture] = []

    def fail(_: Capture) -> None:
        raise BoomError

    raising = asking("raising", "on_train_begin", [], on_batch_end=lambda run: run.when_settled(fail))
    raising.role = role
    recording = RecordingPlugin()
    driver = begun(raising, asking("other", "on_batch_end", captures), recording)
    if role == "actor":
        with pytest.raises(BoomError):
            driver.batch_end()
    else:
        driver.batch_end()
        driver.end()
    run = run_of(driver)
    assert run.outcome == ("failed" if role == "actor" else "completed")
    assert [(failure.plugin, failure.hook, failure.disabled) for failure in run.failures] == [
        ("raising", "when_settled", role == "observer")
    ]
    assert len(captures) == 1
    check_events(recording.events)


def test_an_interruption_waits_until_the_moment_is_settled() -> None:
    """`Run.interrupt` raises once every plugin has had every event of the batch, including its evaluation."""
    recording = RecordingPlugin()
    stop = KeyboardInterrupt()
    driver = begun(plugin("interrupting", on_batch_begin=lambda run: run.interrupt(stop)), recording)
    driver.batch_begin()
    driver.batch_held()
    driver.evaluate_batch_end()
    driver.evaluate_end()
    assert recording.hooks[-1] == "on_evaluate_end"
    with pytest.raises(KeyboardInterrupt) as raised:
        driver.settled()
    assert raised.value is stop
    assert recording.events[-2:] == [("on_exception", stop), ("on_train_end", Outcome.INTERRUPTED)]


def test_an_interruption_waits_for_the_update() -> None:
    """Within an accumulation an interruption waits for the update, so that no gradient is lost."""
    driver = begun(plugin("interrupting", on_batch_begin=lambda run: run.interrupt(KeyboardInterrupt())))
    driver.batch_end(updates=0)
    driver.batch_end(updates=0)
    with pytest.raises(KeyboardInterrupt):
        driver.batch_end()
    assert run_of(driver).progress.step == 1


def test_ctrl_c_within_a_batch_takes_effect_at_its_end(tmp_path: Path) -> None:
    """Ctrl-C waits until the batch is settled, and Checkpoint saves; afterwards the handler is Python's again."""
    trainee = ScriptedTrainee(weights=[0.0])
    driver = begun(Checkpoint(tmp_path, every_n_epochs=None), trainee=trainee)
    driver.batch_begin()
    signal.raise_signal(signal.SIGINT)
    trainee.weights = [1.0]
    with pytest.raises(KeyboardInterrupt):
        driver.batch_end()
    assert run_of(driver).outcome is Outcome.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    saved = store.newest(tmp_path)
    assert (saved.step, trainee.read(saved.path)["weights"]) == (1, [1.0])


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_a_second_ctrl_c_among_the_plugins_stores_nothing_that_only_some_have_seen(tmp_path: Path, hook: str) -> None:
    """A second Ctrl-C is raised at once, later plugins miss the event, and the newest checkpoint is the one before it."""

    def press(run: Run) -> None:
        if run.progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    first, second = RecordingPlugin("first"), RecordingPlugin("second")
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(first, plugin("pressing", **{hook: press}), second, Checkpoint(tmp_path, asynchronous=False)), epochs=2)
    assert (first.hooks.count(hook), second.hooks.count(hook)) == (2, 1)
    assert first.hooks[-2:] == second.hooks[-2:] == ["on_exception", "on_train_end"]
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_an_interruption_among_the_plugins_stores_nothing_that_only_some_have_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If a program's own signal handler raises within an epoch's end, no capture is taken, and the log names the cut epoch."""

    def stop(epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(driver_of(plugin("stopping", on_epoch_end=stop), RecordingPlugin(), Checkpoint(tmp_path)), epochs=2)
    assert [saved.step for saved in store.available(tmp_path)] == [1]
    assert "checkpoint: no capture: epoch 2 was cut, so weights and record differ" in caplog.messages


def test_a_second_ctrl_c_between_two_batches_saves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second Ctrl-C ends the run without a checkpoint, even between two batches."""
    driver = begun(Checkpoint(tmp_path))
    driver.batch_end()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as pressed:
        signal.raise_signal(signal.SIGINT)
    driver.end(pressed.value)
    assert not list(tmp_path.glob("step-*"))
    assert "checkpoint: no capture: the run had to end at once" in caplog.messages


def test_ctrl_c_after_an_interruption_reaches_every_plugin_s_end() -> None:
    """If Ctrl-C comes in `on_train_end`, after a plugin has interrupted the run, every plugin still gets `on_train_end`."""

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    interrupting = plugin("interrupting", on_epoch_end=lambda run: run.interrupt(KeyboardInterrupt()), on_train_end=press)
    first, second = RecordingPlugin("first"), RecordingPlugin("second")
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(first, interrupting, second))
    assert first.hooks == second.hooks
    assert first.hooks[-4:] == ["on_epoch_end", "on_metrics", "on_exception", "on_train_end"]


@pytest.mark.parametrize("fails", [True, False])
def test_the_first_ctrl_c_at_the_end_of_a_run_waits_for_every_plugin(fails: bool) -> None:  # noqa: FBT001 - a parameter
    """Ctrl-C in `on_train_end` or `on_exception` is raised after all plugins had the hook, and does not change the outcome."""
    heard: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        heard.append("delayed")

    recording = RecordingPlugin()
    pressing = plugin("pressing", **{"on_exception" if fails else "on_train_end": press})
    driver = begun(pressing, recording)
    with pytest.raises(KeyboardInterrupt):
        driver.end(BoomError() if fails else None)
    assert heard == ["delayed"]
    assert recording.hooks[-1] == "on_train_end"
    assert run_of(driver).outcome is (Outcome.FAILED if fails else Outcome.COMPLETED)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_evaluation_in_an_epoch_without_batches_is_not_interrupted(tmp_path: Path) -> None:
    """Before an epoch's first batch, Ctrl-C waits for a batch or the epoch's end: the loop may train without events."""
    recording = RecordingPlugin()
    driver = begun(recording, Checkpoint(tmp_path))
    driver.epoch_begin()
    signal.raise_signal(signal.SIGINT)
    driver.evaluate_batch_end()
    driver.evaluate_end()
    with pytest.raises(KeyboardInterrupt):
        driver.epoch_end()
    assert recording.hooks[-5:-2] == ["on_epoch_end", "on_metrics", "on_exception"]
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_an_epoch_that_is_known_to_have_batches_is_whole_before_the_first(tmp_path: Path) -> None:
    """After `batches`, an interruption before the first batch is raised at once, and Checkpoint saves."""
    driver = begun(Checkpoint(tmp_path))
    driver.batch_end()
    driver.epoch_begin()
    driver.batches()
    run_of(driver).interrupt(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        driver.evaluate_batch_end()
    assert [saved.step for saved in store.available(tmp_path)] == [1]


# Observations


def hold_and_evaluate(driver: Driver, *losses: float) -> None:
    """Tell of a held batch, with an evaluation for each of `losses`."""
    driver.batch_held({"loss": 9.0})
    for loss in losses:
        driver.evaluate_end({"loss": loss}, named={"val_loss": loss})


def test_a_held_batch_that_was_evaluated_is_observed_when_it_is_settled() -> None:
    """The observation has what was logged since the previous one, the evaluation's metrics and those given; history has a row."""
    recording = RecordingPlugin()
    driver = begun(recording, trainee=ScriptedTrainee(learning_rate=0.25))
    driver.epoch_begin()
    driver.log({"loss": 5.0})
    hold_and_evaluate(driver, 4.0)
    assert "on_metrics" not in recording.hooks
    driver.settled({"mean": 3.0})
    assert recording.events[-1] == ("on_metrics", {"loss": 5.0, "val_loss": 4.0, "mean": 3.0})
    driver.batch_end()
    driver.log({"loss": 2.0})
    hold_and_evaluate(driver, 1.0)
    driver.settled()
    assert recording.events[-1] == ("on_metrics", {"loss": 2.0, "val_loss": 1.0})
    history = run_of(driver).history
    assert (history["loss"], history["val_loss"], history["mean"][:1]) == ([5.0, 2.0], [4.0, 1.0], [3.0])
    assert (history.epochs, history.steps, history.by_steps, history.learning_rates) == (
        [0, 0],
        [1, 3],
        [True, True],
        [0.25, 0.25],
    )


@pytest.mark.parametrize("settles", ["settled", "batch_begin", "epoch_begin", "epoch_end", "end"])
def test_several_evaluations_of_one_batch_are_one_observation(settles: str) -> None:
    """Several evaluations of one batch are one observation; if they share a metric, the latest value counts."""
    recording = RecordingPlugin()
    driver = begun(recording)
    hold_and_evaluate(driver, 4.0, 3.0)
    driver.evaluate_end({"acc": 0.5}, named={"test_acc": 0.5})
    getattr(driver, settles)()
    assert recording.events[recording.hooks.index("on_metrics")] == ("on_metrics", {"val_loss": 3.0, "test_acc": 0.5})
    assert recording.hooks.count("on_metrics") == 1


@pytest.mark.parametrize("held", [True, False])
def test_without_an_evaluation_of_a_held_batch_only_the_epochs_end_is_observed(held: bool) -> None:  # noqa: FBT001 - a parameter
    """A held batch without an evaluation is not an observation, nor is an evaluation of a batch that was not held."""
    recording = RecordingPlugin()
    driver = begun(recording)
    if held:
        driver.batch_held()
        driver.settled({"loss": 9.0})
    else:
        driver.batch_end()
    driver.evaluate_end({"loss": 3.0}, named={"val_loss": 3.0})
    driver.settled({"loss": 9.0})
    driver.epoch_end({"loss": 2.0})
    assert recording.events[-2:] == [
        ("on_epoch_end", 0, {"val_loss": 3.0, "loss": 2.0}),
        ("on_metrics", {"val_loss": 3.0, "loss": 2.0}),
    ]
    assert run_of(driver).history.by_steps == [False]


def test_the_end_of_an_observed_epoch_is_observed_if_anything_is_fresh() -> None:
    """`on_epoch_end` has the epoch's own metrics, `on_metrics` those since the previous observation, if there are any."""
    recording = RecordingPlugin()
    driver = begun(recording)
    for fresh in ({"loss": 1.0}, {}, None):
        hold_and_evaluate(driver, 4.0)
        driver.settled()
        driver.epoch_end({"loss": 2.0}, fresh=fresh)
    ends = [event for event in recording.events if event[0] in {"on_epoch_end", "on_metrics"}]
    own, by_steps = {"val_loss": 4.0, "loss": 2.0}, ("on_metrics", {"val_loss": 4.0})
    assert ends == [
        *(by_steps, ("on_epoch_end", 0, own), ("on_metrics", {"loss": 1.0})),
        *(by_steps, ("on_epoch_end", 1, own)),
        *(by_steps, ("on_epoch_end", 2, own), ("on_metrics", {"loss": 2.0})),
    ]
    assert run_of(driver).history.by_steps == [True, False, True, True, False]


def test_what_is_captured_and_interrupted_by_an_observation_waits_for_every_plugin() -> None:
    """A capture that is asked for in `on_metrics` holds what plugins that are called later decide in it."""
    captures: list[Capture] = []

    class Observing(Stateful):
        @hookimpl(trylast=True)
        def on_metrics(self) -> None:
            self.seen += 1

    driver = begun(asking("asks", "on_metrics", captures), ("observing", Observing()))
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    driver.epoch_end({"loss": 1.0})
    assert [state_in(capture, "observing") for capture in captures] == [{"seen": 1}, {"seen": 2}]
    assert [state.loads(capture.record)["position"]["epoch"] for capture in captures] == [0, 1]


# What plugins log


def logging_in(hook: str, name: str = "logs", **metrics: Any) -> SimpleNamespace:
    """Return a plugin that logs `metrics` in `hook`."""
    return plugin(name, **{hook: lambda run: run.log(metrics)})


@pytest.mark.parametrize(
    ("hook", "rows"),
    [
        ("on_metrics", [1.0, 1.0, 1.0]),
        ("on_epoch_end", [math.nan, 1.0, 1.0]),
        ("on_batch_end", [1.0, math.nan, 1.0]),
        ("on_epoch_begin", [1.0, math.nan, 1.0]),
        ("on_train_begin", [1.0, math.nan, math.nan]),
    ],
)
def test_what_a_plugin_logs_is_in_the_open_observation_or_in_the_next_one(hook: str, rows: list[float]) -> None:
    """Metrics logged in `on_epoch_end` or `on_metrics` belong to that observation, others to the next; later plugins see them."""
    recording = RecordingPlugin()
    driver = begun(logging_in(hook, f1=1.0), recording)
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    driver.epoch_end({"loss": 2.0})
    driver.epoch_begin()
    driver.batch_end()
    driver.epoch_end({"loss": 2.0})
    driver.end()
    assert repr(run_of(driver).history["f1"]) == repr(rows)
    seen = [event[1].get("f1", math.nan) for event in recording.events if event[0] == "on_metrics"]
    assert repr(seen) == repr(rows)


def test_a_metric_that_is_logged_at_the_end_of_an_epoch_is_in_its_metrics_too() -> None:
    """In `on_epoch_end` and `on_metrics`, plugins that are called after the one that logs see the metric."""
    for hook in ("on_epoch_end", "on_metrics"):
        before, after = RecordingPlugin("before"), RecordingPlugin("after")
        driver = begun(before, logging_in(hook, f1=1.0), after)
        driver.epoch_begin()
        driver.epoch_end({"loss": 2.0})
        driver.end()
        metrics = [dict(zip(recording.hooks, recording.events, strict=True)) for recording in (before, after)]
        assert [("f1" in seen["on_epoch_end"][-1], "f1" in seen["on_metrics"][-1]) for seen in metrics] == (
            [(False, True), (True, True)] if hook == "on_epoch_end" else [(False, False), (False, True)]
        )


def test_what_is_logged_makes_the_end_of_an_epoch_an_observation() -> None:
    """If an epoch that was observed by steps ends with nothing fresh, to log a metric makes its end an observation."""
    recording = RecordingPlugin()
    driver = begun(logging_in("on_epoch_end", f1=1.0), recording)
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    driver.epoch_end({"loss": 2.0}, fresh={})
    assert recording.events[-2:] == [
        ("on_epoch_end", 0, {"val_loss": 4.0, "loss": 2.0, "f1": 1.0}),
        ("on_metrics", {"f1": 1.0}),
    ]
    history = run_of(driver).history
    assert (history.by_steps, history["f1"][1:], math.isnan(history["val_loss"][1])) == ([True, False], [1.0], True)


def test_a_name_may_be_logged_again_until_it_is_observed() -> None:
    """If a plugin logs a name several times before the next observation, the latest value counts."""
    driver = begun(plugin("counts", on_batch_end=lambda run: run.log(step=run.progress.step)))
    driver.batch_end()
    driver.batch_end()
    driver.epoch_end()
    assert run_of(driver).history["step"] == [2.0]


TAKEN = r"^logs: run\.log was given 'loss', but the observation has a metric of that name"


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_metrics", "on_batch_end"])
@pytest.mark.parametrize("role", ["actor", "observer"])
def test_a_name_that_the_observation_has_is_refused_as_the_plugins_error(hook: str, role: str) -> None:
    """A name that the observation has is refused: an actor's error ends the run, an observer's costs only that value."""
    recording = RecordingPlugin()
    logs = logging_in(hook, loss=1.0)
    logs.role = role
    driver = begun(logs, recording)
    driver.batch_end()
    if role == "actor":
        with pytest.raises(MetricError, match=TAKEN):
            driver.epoch_end({"loss": 2.0})
    else:
        driver.epoch_end({"loss": 2.0})
        driver.end()
    run = run_of(driver)
    assert run.history["loss"] == [2.0]
    (failure,) = run.failures
    assert (failure.plugin, failure.hook, failure.disabled) == (
        "logs",
        "log" if hook == "on_batch_end" else hook,
        role == "observer",
    )
    assert run.outcome is (Outcome.FAILED if role == "actor" else Outcome.COMPLETED)
    check_events(recording.events)


def test_a_name_that_another_plugin_has_logged_is_refused_at_once() -> None:
    """If two plugins log one name for the same observation, the second gets the error."""
    driver = begun(logging_in("on_batch_end", "first", f1=1.0), logging_in("on_batch_end", f1=2.0))
    with pytest.raises(MetricError, match=r"^logs: run\.log was given 'f1', "):
        driver.batch_end()


@pytest.mark.parametrize("value", ["high", None])
def test_a_value_that_is_logged_must_be_a_number(value: Any) -> None:
    """To log a value that is not a number is an error at once, which names the metric."""
    driver = begun(logging_in("on_batch_end", f1=value))
    with pytest.raises(MetricError, match="Metric 'f1' must be a number, got"):
        driver.batch_end()


def test_logging_on_another_thread_is_refused() -> None:
    """To log on another thread is an error that names the plugin and the metrics, and nothing is recorded."""
    raised: list[BaseException] = []

    def log(run: Run) -> None:
        def call() -> None:
            try:
                run.log(f1=1.0)
            except HookcoreError as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    driver = begun(plugin("logs", on_batch_end=log))
    driver.batch_end()
    driver.epoch_end()
    assert re.match(r"logs: run\.log was called with \{'f1': 1\.0\} on a thread that does not train", str(raised[0]))
    assert "f1" not in run_of(driver).history


@pytest.mark.parametrize("hook", ["on_exception", "on_train_end"])
def test_logging_at_the_end_of_a_run_is_a_warning_and_after_it_an_error(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """To log a metric in the run's last events leads to a warning; to log one outside of a run is an error."""
    driver = begun(logging_in(hook, f1=1.0))
    run = run_of(driver)
    driver.end(BoomError() if hook == "on_exception" else None)
    assert "logs: f1=1 was logged after the last observation, so it is not in the history" in caplog.messages
    assert [failure.error for failure in run.failures] == []
    with pytest.raises(HookcoreError, match=r"run\.log was called after the run has ended"):
        run.as_plugin("logs").log(f1=1.0)
    with pytest.raises(HookcoreError, match=r"run\.log was called before the run begins"):
        a_run().as_plugin("logs").log(f1=1.0)


def test_what_no_observation_took_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """If a run ends before the next observation, the warning names plugin, metric and value."""
    driver = begun(logging_in("on_batch_end", f1=0.5))
    driver.batch_end()
    driver.epoch_end()
    driver.batch_end()
    driver.leave()
    driver.end()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["logs: f1=0.5 was logged after the last observation, so it is not in the history"]


def test_what_is_logged_in_an_evaluation_by_itself_is_not_recorded() -> None:
    """Metrics that are logged in a separate evaluation are not recorded, and the latest run's history does not change."""
    driver = driver_of(logging_in("on_evaluate_end", f1=1.0))
    driver.outside(ScriptedTrainee())
    driver.evaluate_end({"loss": 1.0})
    driver.end()
    assert driver.run is None


def test_what_was_logged_for_the_next_observation_is_resumed() -> None:
    """Metrics that wait for the next observation are in the record, and a resumed run has them in that observation."""
    driver = begun(logging_in("on_epoch_begin", f1=0.5))
    driver.batch_end()
    saved = driver.record()
    driver.end(KeyboardInterrupt())
    resumed = driver_of(RecordingPlugin("logs"))
    resumed.begin(a_run(), record=saved)
    resumed.epoch_begin()
    resumed.batch_end()
    resumed.epoch_end()
    assert run_of(resumed).history["f1"] == [0.5]


def test_a_run_that_is_cut_between_two_observations_has_the_second_as_if_it_had_not_been_cut() -> None:
    """The record holds the fresh metrics, and whether the epoch had an observation."""
    heard = []
    for cut in (False, True):
        recording = RecordingPlugin()
        driver = begun(recording)
        hold_and_evaluate(driver, 4.0)
        driver.settled()
        driver.log({"loss": 3.0})
        driver.batch_end()
        if cut:
            saved = driver.record()
            resumed = driver_of(recording)
            driver.end(KeyboardInterrupt())
            resumed.begin(a_run(), record=saved)
            resumed.epoch_begin()
            driver = resumed
        recording.events.clear()
        hold_and_evaluate(driver, 2.0)
        driver.settled()
        driver.epoch_end(fresh={})
        driver.end()
        heard.append((recording.events, repr(run_of(driver).history)))
    assert heard[0] == heard[1]
    assert [event[0] for event in heard[0][0]].count("on_metrics") == 1


def test_an_epoch_that_was_observed_before_the_run_was_cut_needs_no_other_observation() -> None:
    """If nothing is fresh at its end, an epoch that was observed before the run was cut is not observed again."""
    driver = begun()
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    saved = driver.record()
    driver.end(KeyboardInterrupt())
    recording = RecordingPlugin()
    resumed = driver_of(recording)
    resumed.begin(a_run(), record=saved)
    resumed.epoch_begin()
    resumed.epoch_end()
    resumed.end()
    assert recording.hooks == ["on_train_begin", "on_epoch_end", "on_train_end"]


# The handler of Ctrl-C


def pressing(driver: Driver, capfd: pytest.CaptureFixture[str]) -> str:
    """Return what a first Ctrl-C writes."""
    signal.raise_signal(signal.SIGINT)
    written = capfd.readouterr().err
    driver.end(KeyboardInterrupt())
    return written


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ([], "the next epoch, or the end of the run"),
        (["epoch_begin"], "the first batch of epoch 1, or its end"),
        (["epoch_begin", "batches"], "the end of batch 1 in epoch 1"),
        (["batch_begin"], "the end of batch 1 in epoch 1"),
        (["batch_end"], "the end of batch 2 in epoch 1"),
        (["batch_end", "evaluate_begin"], "a batch of the evaluation"),
        (["batch_held", "evaluate_begin"], "the evaluation"),
        (["batch_end", "epoch_end", "epoch_begin"], "the first batch of epoch 2, or its end"),
    ],
)
def test_the_first_ctrl_c_tells_what_it_waits_for(facts: list[str], what: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The first Ctrl-C writes one line to the standard error at once, in case the data set hangs."""
    driver = begun()
    for fact in facts:
        getattr(driver, fact)()
    expected = f"\nCtrl-C: waiting for {what}. A second Ctrl-C stops at once, without a checkpoint.\n"
    assert pressing(driver, capfd) == expected


def test_ctrl_c_tells_of_an_update_and_of_the_plugins(capfd: pytest.CaptureFixture[str]) -> None:
    """Within an accumulation Ctrl-C waits for the update, and within an epoch's end for the plugins."""
    driver = begun()
    driver.batch_end(updates=0)
    assert "waiting for the next update in epoch 1." in pressing(driver, capfd)
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(plugin("presses", on_epoch_end=lambda: signal.raise_signal(signal.SIGINT))))
    assert "waiting for the plugins in epoch 1." in capfd.readouterr().err


def test_ctrl_c_does_not_need_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a standard error, such as a service, is interrupted like any other."""
    monkeypatch.setattr("sys.__stderr__", None)
    driver = begun()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        driver.epoch_begin()


def test_a_run_that_is_dropped_without_an_end_gives_ctrl_c_back() -> None:
    """When the driver is freed, the earlier handler is back, and the run can still be read."""
    driver = begun(plugin("votes", on_batch_end=lambda run: run.stop("enough")))
    driver.batch_end()
    run = run_of(driver)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    del driver
    gc.collect()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run.stop("nothing to stop")


def test_a_driver_that_goes_on_another_thread_gives_ctrl_c_back_when_it_is_pressed() -> None:
    """If the driver is freed on another thread, the next Ctrl-C is raised at once and puts the earlier handler back."""
    drivers = [begun()]
    thread = threading.Thread(target=drivers.clear)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runs_that_end_in_the_order_in_which_they_began_give_ctrl_c_back() -> None:
    """The last of several runs to end puts back the handler from before the first one."""
    drivers = [begun() for _ in range(3)]
    for driver in drivers:
        driver.end()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_that_ends_on_another_thread_gives_ctrl_c_back_when_it_is_pressed() -> None:
    """A run can end on another thread, and the next Ctrl-C is raised at once."""
    driver = begun()
    thread = threading.Thread(target=driver.end)
    thread.start()
    thread.join()
    assert run_of(driver).outcome is Outcome.COMPLETED
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_shortest_way_is_heard_like_the_long_one() -> None:
    """The two functions of `batches` call, count and settle the same as `batch_begin` and `batch_end`."""
    heard = []
    for short in (False, True):
        captures: list[Capture] = []
        recording = RecordingPlugin()
        driver = begun(recording, asking("asks", "on_batch_end", captures))
        for _ in range(2):
            driver.epoch_begin()
            begin, end = driver.batches()
            for batch in range(2):
                if short:
                    begin(batch)
                    end(batch, {"loss": 1.0})
                else:
                    driver.batch_begin()
                    driver.batch_end({"loss": 1.0})
            driver.epoch_end()
        driver.end()
        heard.append(
            (recording.events, run_of(driver).progress, [state.loads(capture.record)["position"] for capture in captures])
        )
    assert heard[0] == heard[1]


# The golden traces


def traces(page: str) -> dict[str, str]:
    """Return the traces in a page of docs/, by the headings above them."""
    document = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^### (.+?)\n.*?^```text\n(.+?)^```$", document, re.MULTILINE | re.DOTALL))


TRACES = traces("hooks.md")
SHORT_TRACES = traces("writing-an-adapter.md")
"""Traces that have what the framework says, too, before the fact."""


def parsed(call: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the name and the arguments of a call as it is written in the document."""
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
    return ast.unparse(tree.func), [ast.literal_eval(argument) for argument in tree.args], keywords


def play_trace(trace: str, *plugins: object) -> Driver:
    """Tell a driver the facts of a trace, and check that plugins get exactly the events beside each."""
    heard: list[Any] = []

    class Stopped(NoHost):
        def stop(self) -> None:
            heard.append(("host.stop",))

    driver = driver_of(RecordingPlugin(events=heard), *plugins, host=Stopped())
    for row in trace.splitlines():
        *_, told, expected = (side.strip() for side in row.split("->"))
        fact, arguments, keywords = parsed(told)
        if fact == "begin":
            driver.begin(a_run())
        else:
            getattr(driver, fact)(*arguments, **keywords)
        events = [] if expected == "nothing" else [parsed(event) for event in expected.split("; ")]
        assert heard == [(name, *given) for name, given, _ in events], row
        heard.clear()
    return driver


@pytest.mark.parametrize("kind", TRACES)
def test_a_golden_trace_is_what_the_document_says(kind: str) -> None:
    """For each fact in a trace of docs/hooks.md, plugins get exactly the events beside it."""

    def vote(run: Run, epoch: int) -> None:
        if epoch == 1 and "host.stop()" in TRACES[kind]:
            run.stop("two epochs are enough")

    run = run_of(play_trace(TRACES[kind], plugin("votes", on_epoch_end=vote)))
    by_steps = "by steps" in kind
    assert (run.outcome, run.history.epochs) == (Outcome.STOPPED, [0, 1, 1] if by_steps else [0, 1])
    assert run.history.by_steps == [by_steps] * len(run.history)
    assert run.progress.step == {"Iteration": 2, "Ended": 5}.get(kind.split(maxsplit=1)[0], 6)


@pytest.mark.parametrize("kind", SHORT_TRACES)
def test_a_trace_for_adapter_authors_is_what_the_document_says(kind: str) -> None:
    """For each fact in a trace of docs/writing-an-adapter.md, plugins get exactly the events beside it."""
    play_trace(SHORT_TRACES[kind])


def test_there_is_a_golden_trace_for_each_kind_of_framework() -> None:
    """docs/hooks.md has six traces and docs/writing-an-adapter.md three, each with a legal sequence of events."""
    assert (len(TRACES), len(SHORT_TRACES)) == (6, 3)
    for trace in (*TRACES.values(), *SHORT_TRACES.values()):
        events = [
            parsed(event) for row in trace.splitlines() for event in row.split("->")[-1].strip().split("; ") if "(" in event
        ]
        check_events([(name, *given) for name, given, _ in events if name != "host.stop"])


@attrs.define(eq=False)
class Asking(Tiny):
    """A loop whose state is what the driver knows of the run."""

    driver: Driver | None = None

    def state_dict(self) -> Mapping[str, Any]:
        assert self.driver is not None
        return {"batch": self.driver.position.batch, "latest": self.driver.latest, "runs": self.driver.is_running}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_a_host_may_ask_of_the_run_until_every_plugin_has_had_its_end(error: KeyboardInterrupt | None) -> None:
    """The host can read the position for a capture that is asked for in `on_exception` or `on_train_end`."""
    captures: list[Capture] = []
    hook = "on_train_end" if error is None else "on_exception"
    host = Asking()
    host.driver = driver_of(plugin("saving", **{hook: lambda run: run.when_settled(captures.append)}), host=host)
    host.driver.begin(a_run())
    host.driver.batch_end({"loss": 1.0})
    host.driver.end(error)
    (capture,) = captures
    expected = (
        {"batch": 1, "latest": {"loss": 1.0}, "runs": True} if error else {"batch": 0, "latest": {"loss": 1.0}, "runs": True}
    )
    assert state.loads(capture.record)["loop"] == expected
    assert not host.driver.is_running
    assert not getattr(error, "__notes__", [])


# Captures that fail


@pytest.mark.parametrize("role", ["observer", "actor"])
def test_a_capture_that_fails_costs_an_observer_and_not_the_run(role: str) -> None:
    """If a capture fails, an observer that asked is disabled, and an actor's run fails with the trainee's error."""

    class Broken(ScriptedTrainee):
        def snapshot(self, *, optimizer: bool = True) -> Any:
            raise BoomError(optimizer)

    asks = plugin("asks", on_batch_end=lambda run: run.when_settled(lambda _: None))
    asks.role = role
    driver = begun(asks, trainee=Broken())
    if role == "actor":
        with pytest.raises(BoomError):
            driver.batch_end()
    else:
        driver.batch_end()
        driver.end()
    (failure,) = run_of(driver).failures
    assert failure.disabled is (role == "observer")
    assert "There is no capture for plugin 'asks'" in str(failure.error)
    assert run_of(driver).outcome is (Outcome.COMPLETED if role == "observer" else Outcome.FAILED)


def test_a_plugin_that_is_disabled_gets_no_capture_any_more() -> None:
    """An observer that asks for a capture and then raises in the same hook does not get the capture."""
    captures: list[Capture] = []

    def ask_and_raise(run: Run) -> None:
        run.when_settled(captures.append)
        raise BoomError

    asks = plugin("asks", on_batch_end=ask_and_raise)
    asks.role = "observer"
    driver = begun(asks)
    driver.batch_end()
    driver.end()
    assert captures == []


@pytest.mark.parametrize(
    "fact",
    [
        lambda driver: driver.update(-1),
        lambda driver: driver.batch_end(updates=0.5),
        lambda driver: driver.batch_end(updates="1"),
        lambda driver: driver.evaluate_batch_end(batches=0),
        lambda driver: driver.predict_batch_end(batches=-3),
    ],
)
def test_numbers_that_make_no_sense_are_one_clear_error(fact: Callable[[Driver], object]) -> None:
    """Counts that are not whole numbers are an error that names the loop, the fact and the values, and ends the run."""
    driver = begun()
    with pytest.raises(ParameterError, match=r"^tiny told of \w+ with updates=.* and batches=.*; these are whole numbers"):
        fact(driver)
    assert run_of(driver).outcome is Outcome.FAILED


def test_numbers_of_numpy_are_counted_as_pythons() -> None:
    """Whatever type of integer an adapter counts with, the progress and the position are Python's ints."""
    given: Any = np.int64(2)
    driver = Driver([], host=Tiny())
    driver.begin(Run(), initial_epoch=given)
    driver.epoch_begin(given)
    driver.batch_end(updates=given, batches=given)
    driver.update(given)
    run = run_of(driver)
    assert repr(attrs.astuple(run.progress)) == "(2, 1, 4, 0)"
    assert repr(attrs.astuple(driver.position)) == "(2, 2, True)"
    driver.end()
