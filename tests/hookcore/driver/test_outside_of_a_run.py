"""Facts outside of a run are clear errors, and a separate evaluation changes no run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from hookcore import HookcoreError, Outcome, Run, hookimpl
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from tests.hookcore.driver.driving import OBSERVING, TRAINING, BoomError, Tiny, begun, driver_of, plugin, run_of, train

if TYPE_CHECKING:
    from collections.abc import Mapping


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
