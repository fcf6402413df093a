"""When a capture is taken, what it holds, and what happens if it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hookcore import Outcome, Run, hookimpl, state
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from tests.hookcore.driver.driving import BoomError, Counting, Stateful, asking, begun, driver_of, plugin, run_of, state_in, train

if TYPE_CHECKING:
    from collections.abc import Generator

    from hookcore import Capture


class Last(Stateful):
    @hookimpl(trylast=True)
    def on_batch_end(self) -> None:
        self.seen += 1


class Around(Stateful):
    @hookimpl(wrapper=True)
    def on_batch_end(self) -> Generator[None]:
        yield
        self.seen += 1


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
