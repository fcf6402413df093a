"""What is an observation, and what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore import hookimpl, state
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from tests.hookcore.driver.driving import Stateful, asking, begun, hold_and_evaluate, run_of, state_in

if TYPE_CHECKING:
    from hookcore import Capture


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
