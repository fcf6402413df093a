"""LearningRateSchedule in real runs."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import CapabilityError, Outcome, ParameterError
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import LearningRateSchedule

if TYPE_CHECKING:
    from collections.abc import Callable


def rates(schedule: Callable[..., Any], *, epochs: int = 3, start: int = 0, learning_rate: float = 1.0) -> list[float]:
    """Return the learning rate during each epoch of a run."""
    trainee = ScriptedTrainee(learning_rate=learning_rate)
    with Loop([LearningRateSchedule(schedule)], epochs=epochs, initial_epoch=start, trainee=trainee) as loop:
        return [trainee.learning_rate for _ in loop.epochs()]


def halved(epoch: int, learning_rate: float) -> float:
    return learning_rate / 2 if epoch else learning_rate


class Step:
    def __init__(self, drop: float) -> None:
        self.drop = drop

    def __call__(self, epoch: int) -> float:
        return self.drop**epoch

    def method(self, epoch: int, rate: float) -> float:
        return rate * self.drop ** (epoch > 0)


def test_a_schedule_of_the_epoch_sets_the_rate_before_the_epochs_first_batch() -> None:
    """The schedule gets the epoch, counted from 0, and its rate is used in that epoch."""
    assert rates(lambda epoch: 1 / (epoch + 1)) == [1, 1 / 2, 1 / 3]


def test_a_schedule_of_epoch_and_rate_gets_the_rate_in_use() -> None:
    """The schedule gets the rate that it returned last."""
    assert rates(halved, learning_rate=0.8) == [0.8, 0.4, 0.2]


def test_a_run_that_begins_later_asks_for_its_own_epochs() -> None:
    """In a run with an initial epoch the schedule is not called for earlier epochs."""
    assert rates(lambda epoch: float(epoch), start=3, epochs=5) == [3, 4]  # noqa: PLW0108 - a function of (epoch)


@pytest.mark.parametrize("schedule", [Step(0.5), Step(0.5).method, functools.partial(lambda drop, epoch: drop**epoch, 0.5)])
def test_anything_that_can_be_called_is_a_schedule(schedule: Callable[..., Any]) -> None:
    """The signatures of objects with `__call__`, bound methods and partials are read as those of functions."""
    assert rates(schedule) == [1, 0.5, 0.25]


def test_a_second_argument_with_a_default_keeps_it() -> None:
    """A second argument with a default, as used to bind a value in a lambda, does not get the learning rate."""
    assert rates(lambda epoch, base=8.0: base / 2**epoch) == [8, 4, 2]


def test_a_type_error_inside_the_schedule_comes_out_as_it_is() -> None:
    """A TypeError inside the schedule propagates: it is not taken for a wrong number of arguments."""

    def broken(epoch: Any, learning_rate: float) -> float:
        return learning_rate + float(len(epoch))

    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        rates(broken)


@attrs.frozen
class Tensor:
    """A number as frameworks have it: `float` takes it, and it is not a Python number."""

    value: float

    def __float__(self) -> float:
        return self.value


@attrs.frozen
class Array:
    """A NumPy or torch number: `item` gives the Python number."""

    value: Any

    def item(self) -> Any:
        return self.value

    def __float__(self) -> float:
        pytest.fail("NumPy warns here about arrays of one element")


@pytest.mark.parametrize("returned", [2, 2.0, Tensor(2.0), Array(2.0), Array(2)])
def test_a_rate_is_whatever_float_takes(returned: Any) -> None:
    """Integers and tensors of one element are rates."""
    used = rates(lambda _epoch: returned)
    assert used == [2.0] * 3
    assert {type(rate) for rate in used} == {float}


def test_zero_is_a_rate() -> None:
    """A rate of zero is accepted: a schedule may freeze the weights for an epoch."""
    assert rates(lambda _epoch: 0) == [0.0] * 3


@pytest.mark.parametrize(
    "returned",
    [
        None,
        True,
        False,
        "0.1",
        b"0.1",
        math.nan,
        math.inf,
        -math.inf,
        -1e-9,
        1j,
        [0.1],
        pytest.param(10**400, id="too large"),
        Tensor(math.nan),
        Array(value=True),
    ],
)
def test_anything_else_is_refused_with_plugin_epoch_and_value(returned: Any) -> None:
    """The error comes in the epoch for which it was returned, and the rate stays as it was."""
    trainee = ScriptedTrainee(learning_rate=0.5)
    loop = Loop([LearningRateSchedule(lambda epoch: returned if epoch == 2 else 0.25)], epochs=4, trainee=trainee)
    with pytest.raises(ParameterError) as caught, loop:
        for _ in loop.epochs():
            pass
    assert str(caught.value) == (
        f"learning_rate_schedule: the schedule must return a finite number of at least 0, got {returned!r} for epoch=2."
    )
    assert trainee.learning_rate == 0.25
    assert loop.run.outcome is Outcome.FAILED


def test_the_rates_of_a_schedule_are_no_decisions() -> None:
    """The rates of a schedule are not decisions: one for each epoch would hide the others."""
    with Loop([LearningRateSchedule(halved)], epochs=3, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            pass
    assert loop.run.decisions == []


@pytest.mark.parametrize("schedule", [0.1, None, lambda: 0.1, lambda _epoch, _rate, third: third, lambda *, epoch: epoch])
def test_what_cannot_be_called_with_epoch_and_rate_is_refused_at_once(schedule: Any) -> None:
    """The signature is read when the plugin is made, and the error shows what was given."""
    with pytest.raises(ParameterError) as caught:
        LearningRateSchedule(schedule)
    assert str(caught.value) == (
        f"LearningRateSchedule: schedule must be a function of (epoch) or (epoch, learning_rate), got {schedule!r}."
    )


@pytest.mark.parametrize("trainee", [None, ScriptedTrainee(cannot={"learning_rate": "its optimizer has a schedule"})])
def test_a_trainee_without_a_learning_rate_is_refused_before_training(trainee: ScriptedTrainee | None) -> None:
    """The error names the plugin and says why the rate cannot be set, and no hook was called."""
    recording = RecordingPlugin()
    loop = Loop([recording, LearningRateSchedule(halved)], epochs=2, trainee=trainee)
    reason = "its optimizer has a schedule" if trainee else "this loop was given no trainee"
    with pytest.raises(CapabilityError, match=f"'learning_rate_schedule' needs the trainee's learning rate, but {reason}"):
        loop.__enter__()
    assert recording.hooks == []
