"""What plugins ask of a run."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hookcore import HookcoreError, Outcome, ParameterError, Run
from hookcore.testing import ScriptedTrainee
from hookcore.trainee import NoTrainee

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_run_of_its_own_knows_nothing_yet() -> None:
    """A run without an engine is running, at the beginning, without votes, decisions, failures, state or length."""
    run = Run()
    assert (run.outcome, run.epochs, run.steps_per_epoch, run.resumed_from) == (Outcome.RUNNING, None, None, None)
    assert (run.stop_reasons, run.decisions, run.failures) == ([], [], [])
    with pytest.raises(HookcoreError, match="nothing to capture before the run begins"):
        run.capture()
    assert str(run) == "run running at epoch 1, step 0"
    assert [str(outcome) for outcome in Outcome] == ["running", "completed", "stopped", "interrupted", "preempted", "failed"]


def test_the_learning_rate_is_the_trainees() -> None:
    """The run's learning rate is the trainee's, read and set as a float."""
    trainee = ScriptedTrainee(learning_rate=0.5)
    run = Run.of(trainee)
    assert run.learning_rate == 0.5
    run.learning_rate = 0
    assert repr(trainee.learning_rate) == "0.0"


@pytest.mark.parametrize("value", [np.float32(0.25), np.array(0.25)])
def test_a_learning_rate_of_numpy_becomes_pythons(value: Any) -> None:
    """A learning rate is set, recorded and read as Python's float, even if the trainee has another type."""
    trainee = ScriptedTrainee(learning_rate=np.float64(0.5))
    run = Run.of(trainee)
    assert type(run.learning_rate) is float
    run.set_learning_rate(value, "a test")
    assert repr((trainee.learning_rate, run.decisions[0].value)) == "(0.25, 0.25)"
    assert run.decisions[0].message == "learning rate 0.5 -> 0.25: a test"


def test_numbers_of_a_vote_become_pythons() -> None:
    """The numbers that a plugin gives with a vote are recorded as Python's; a value that is not a number is refused."""
    run = Run.of(ScriptedTrainee())
    run.stop("why", metric="loss", value=np.float32(1), best=np.array(0.5), best_epoch=np.int64(0), best_step=np.int64(3))  # type: ignore[arg-type]  # NumPy's
    vote = run.stop_reasons[0]
    assert repr((vote.value, vote.best, vote.best_epoch, vote.best_step)) == "(1.0, 0.5, 0, 3)"
    assert repr(run.decisions[0].value) == "1.0"
    wrong: Any = "1"
    with pytest.raises(ParameterError, match="value must be a number or None, got '1'"):
        run.stop("why", value=wrong)
    assert len(run.stop_reasons) == len(run.decisions) == 1


def test_the_lengths_of_a_run_become_pythons() -> None:
    """Epochs, steps and the frequency of validation become Python's ints, whatever the loop was given."""
    given: Any = np.int64(2)
    run = Run.of(epochs=given, steps_per_epoch=given, validation_freq=given)
    assert repr((run.epochs, run.steps_per_epoch, run.validation_freq)) == "(2, 2, 2)"
    assert [run.validates(epoch) for epoch in range(4)] == [False, True, False, True]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, 10**400, "0.1", None, True])
def test_a_learning_rate_out_of_range_is_refused(value: Any) -> None:
    """A learning rate that is negative, not finite or not a number is refused with the plugin's name, and is not set."""
    run = Run.of(ScriptedTrainee(learning_rate=0.5)).as_plugin("schedule")
    with pytest.raises(ParameterError, match="schedule: the learning rate must be"):
        run.learning_rate = value
    with pytest.raises(ParameterError, match="schedule: the learning rate must be"):
        run.set_learning_rate(value, "a test")
    assert (run.learning_rate, run.decisions) == (0.5, [])


def test_every_decision_is_recorded_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A vote, a new learning rate and a checkpoint are recorded with plugin, epoch and step, and logged with their reason."""
    run = Run.of(ScriptedTrainee(learning_rate=0.5)).as_plugin("steward")
    run.progress.epoch, run.progress.step = 2, 30
    with caplog.at_level(logging.INFO, "hookcore"):
        run.stop("enough", metric="loss", value=2.0, best=1.0)
        run.set_learning_rate(0.05, "plateau")
        run.decide("checkpoint", "saving step-00000030: best so far")
    assert [(one.plugin, one.kind, one.epoch, one.step) for one in run.decisions] == [
        ("steward", kind, 2, 30) for kind in ("stop", "learning_rate", "checkpoint")
    ]
    messages = ["enough", "learning rate 0.5 -> 0.05: plateau", "saving step-00000030: best so far"]
    assert [one.message for one in run.decisions] == messages
    assert [record.getMessage() for record in caplog.records] == [f"steward: {message}" for message in messages]


def test_without_a_trainee_every_capability_is_missing_with_a_reason() -> None:
    """Without a trainee the learning rate is an error with the reason, and the other methods do nothing."""
    run = Run()
    assert isinstance(run.trainee, NoTrainee)
    for capability in ("learning_rate", "snapshot", "checkpoint"):
        assert "no trainee" in str(run.trainee.lacks(capability))
    with pytest.raises(AttributeError, match="no trainee, so it has no learning rate"):
        _ = run.learning_rate
    with pytest.raises(AttributeError, match=r"no trainee, so its learning rate cannot be set to 0\.1"):
        run.learning_rate = 0.1


def test_no_trainee_touches_nothing(tmp_path: Path) -> None:
    """`NoTrainee` takes no snapshot, writes no file and declares no direction."""
    trainee = NoTrainee()
    trainee.restore(trainee.snapshot())
    trainee.write(None, tmp_path)
    trainee.read(tmp_path)
    assert trainee.direction("loss") is None
    assert list(tmp_path.iterdir()) == []


def test_the_scripted_trainee_is_put_back_by_snapshot_and_by_file(tmp_path: Path) -> None:
    """The double follows the protocol: a snapshot is a copy, and restoring or reading it puts the trainee back."""
    trainee = ScriptedTrainee(learning_rate=0.5, weights=[1.0], optimizer_state=[2.0])
    whole, weights = trainee.snapshot(), trainee.snapshot(optimizer=False)
    trainee.write(whole, tmp_path)
    puts_back: list[tuple[Callable[[], None], bool]] = [
        (lambda: trainee.restore(whole), True),
        (lambda: trainee.restore(weights), False),
        (lambda: trainee.restore(trainee.read(tmp_path)), True),
    ]
    for put_back, everything in puts_back:
        trainee.learning_rate, trainee.weights[0], trainee.optimizer_state[0] = 0.1, math.inf, 9.0
        put_back()
        assert trainee.weights == [1.0]
        assert (trainee.learning_rate, trainee.optimizer_state) == ((0.5, [2.0]) if everything else (0.1, [9.0]))


@pytest.mark.parametrize("validation_freq", [0, -1, False, 1.5, "12"])
def test_a_validation_freq_that_is_never_due_is_refused(validation_freq: Any) -> None:
    """`validation_freq` must be a number of epochs of at least 1, a collection of epochs, or None for validation by steps."""
    with pytest.raises(ParameterError, match=f"validation_freq must be a number of epochs.*got {validation_freq!r}"):
        Run(validation_freq=validation_freq)
    assert not Run(validation_freq=None).validates(0)
