"""ReduceLROnPlateau in real runs over scripted metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import CapabilityError, MetricError, Outcome, ParameterError, Run, state
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import ReduceLROnPlateau
from tests.plugins.resuming import resuming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAN = math.nan


def train(
    plugin: ReduceLROnPlateau,
    series: Sequence[Mapping[str, float]],
    *,
    learning_rate: float = 1.0,
    validation_freq: int = 1,
    start: int = 0,
    resume: Mapping[str, Any] | None = None,
) -> tuple[Run, list[float]]:
    """Train a run with the metrics of `series`, one mapping for each epoch; return it with the rate after each epoch."""
    trainee = ScriptedTrainee(learning_rate=learning_rate)
    loop = Loop(
        [*resuming(plugin, resume), plugin],
        epochs=len(series),
        initial_epoch=start,
        trainee=trainee,
        validation_freq=validation_freq,
    )
    rates = []
    with loop:
        for epoch in loop.epochs():
            rates.append(trainee.learning_rate)
            loop.log(series[epoch])
    return loop.run, [*rates[1:], trainee.learning_rate]


def cuts(plugin: ReduceLROnPlateau, values: Sequence[float], **kwargs: Any) -> list[int]:
    """Return the epochs at whose end the learning rate was reduced, over the monitored values `values`."""
    run, _ = train(plugin, [{plugin.monitor: value} for value in values], **kwargs)
    return [decision.epoch for decision in run.decisions if decision.kind == "learning_rate"]


@pytest.mark.parametrize(("patience", "expected"), [(0, [1, 2, 3]), (1, [1, 2, 3]), (2, [2]), (3, [3]), (4, [])])
def test_the_rate_falls_after_patience_observations_without_improvement(patience: int, expected: list[int]) -> None:
    """On a flat series the rate falls at epoch `patience` and again after as many; 0 and 1 both reduce at the first."""
    assert cuts(ReduceLROnPlateau("loss", patience=patience), [1] * 4) == expected


def test_the_waiting_starts_again_after_a_reduction() -> None:
    """Reductions on a flat series are `patience` epochs apart."""
    assert cuts(ReduceLROnPlateau("loss", patience=3), [1] * 11) == [3, 6, 9]


def test_an_improvement_starts_the_waiting_again() -> None:
    """Observations without improvement count only in a row."""
    assert cuts(ReduceLROnPlateau("loss", patience=2), [5, 6, 4, 6, 3, 6, 6, 1]) == [6]


def test_the_new_rate_is_the_old_times_the_factor() -> None:
    """Each reduction multiplies the rate in use, and nothing else changes it."""
    _, rates = train(ReduceLROnPlateau("loss", factor=0.25, patience=2), [{"loss": 1}] * 6)
    assert rates == [1.0, 1.0, 0.25, 0.25, 0.0625, 0.0625]


def test_a_reduction_is_a_decision_with_its_reason() -> None:
    """The decision names the plugin, both rates, the metric, the observations without improvement and the best value."""
    run, _ = train(ReduceLROnPlateau("loss", factor=0.5, patience=2), [{"loss": value} for value in (1, 3, 2)])
    (decision,) = run.decisions
    assert (decision.plugin, decision.kind, decision.epoch) == ("reduce_lr_on_plateau", "learning_rate", 2)
    assert decision.message.startswith("learning rate 1 -> 0.5: loss has not improved by more than 0.0001 for 2 observation")
    assert decision.message.endswith(": 2, best 1")


@pytest.mark.parametrize(("mode", "sign"), [("min", -1), ("max", 1)])
def test_better_is_strict_and_by_more_than_min_delta(mode: Any, sign: int) -> None:
    """A value that is better by exactly min_delta is no improvement, in either direction."""
    plugin = ReduceLROnPlateau("m", patience=1, min_delta=0.5, mode=mode)
    assert cuts(plugin, [sign * value for value in (1, 1.5, 2.25, 2.25, 2.5)]) == [1, 3, 4]


def test_min_delta_is_a_ten_thousandth_by_default() -> None:
    """By default a change of less than 0.0001 is not an improvement."""
    assert cuts(ReduceLROnPlateau("loss", patience=1), [1, 0.99995, 0.9998]) == [1]


@pytest.mark.parametrize(
    ("values", "expected"), [([NAN, 5, 4], []), ([NAN, NAN, 5], [1]), ([5, NAN, NAN, 6, 6], [2, 4]), ([NAN] * 4, [1, 3])]
)
def test_nan_is_an_observation_that_never_improves(values: list[float], expected: list[int]) -> None:
    """NaN first, later or always counts towards patience and never becomes best."""
    assert cuts(ReduceLROnPlateau("loss", patience=2), values) == expected


@pytest.mark.parametrize(("cooldown", "expected"), [(0, [2, 4, 6, 8, 10]), (1, [2, 5, 8, 11]), (2, [2, 6, 10]), (3, [2, 7])])
def test_the_cooldown_is_exactly_as_many_observations_as_it_says(cooldown: int, expected: list[int]) -> None:
    """On a flat series reductions are patience + cooldown epochs apart."""
    assert cuts(ReduceLROnPlateau("loss", patience=2, cooldown=cooldown), [1] * 12) == expected


def test_an_improvement_during_the_cooldown_becomes_best() -> None:
    """An observation in the cooldown does not use up patience, but may become the best."""
    plugin = ReduceLROnPlateau("loss", patience=1, cooldown=2)
    assert cuts(plugin, [5, 5, 1, 5, 4, 0, 0]) == [1, 4]


def test_the_rate_is_never_set_below_min_lr() -> None:
    """The last reduction lands on min_lr exactly, and no other follows."""
    run, rates = train(ReduceLROnPlateau("loss", factor=0.1, patience=1, min_lr=0.05), [{"loss": 1}] * 6)
    assert rates == [1.0, 0.1, 0.05, 0.05, 0.05, 0.05]
    assert len(run.decisions) == 2


def test_min_lr_never_raises_the_rate() -> None:
    """A rate that is already below min_lr stays where it is."""
    run, rates = train(ReduceLROnPlateau("loss", patience=1, min_lr=0.5), [{"loss": 1}] * 3, learning_rate=0.25)
    assert rates == [0.25] * 3
    assert not run.decisions


def test_no_reduction_if_a_rate_kept_in_single_precision_is_min_lr() -> None:
    """The float32 nearest to min_lr counts as min_lr: otherwise the same reduction would be repeated forever."""
    float32_of_a_tenth = 0.10000000149011612
    run, _ = train(ReduceLROnPlateau("loss", patience=1, min_lr=0.1), [{"loss": 1}] * 3, learning_rate=float32_of_a_tenth)
    assert not run.decisions


def test_no_cooldown_begins_if_nothing_was_reduced() -> None:
    """At min_lr observations still count, so that a rate that others raise is reduced at once."""
    plugin = ReduceLROnPlateau("loss", factor=0.5, patience=2, cooldown=9, min_lr=1.0)
    trainee = ScriptedTrainee(learning_rate=1.0)
    with Loop([plugin], epochs=6, trainee=trainee) as loop:
        for epoch in loop.epochs():
            if epoch == 5:
                trainee.learning_rate = 4.0
            loop.log(loss=1)
    assert trainee.learning_rate == 2.0


@pytest.mark.parametrize(
    ("monitor", "declared", "expected"),
    [("val_loss", None, [1]), ("val_acc", None, [2]), ("loss", "max", [2]), ("my_score", "min", [1])],
)
def test_auto_takes_the_direction_that_the_trainee_declares_else_the_table(
    monitor: str, declared: Any, expected: list[int]
) -> None:
    """The direction that the trainee declares comes before the table of well-known names."""
    trainee = ScriptedTrainee(directions={monitor: declared} if declared else {})
    with Loop([ReduceLROnPlateau(monitor, patience=1)], epochs=3, trainee=trainee) as loop:
        for epoch in loop.epochs():
            loop.log({monitor: [1, 2, 0][epoch]})
    assert [decision.epoch for decision in loop.run.decisions] == expected


def test_an_unknown_direction_is_refused_before_training() -> None:
    """The error asks for a mode, and no epoch has begun."""
    recording = RecordingPlugin()
    loop = Loop([recording, ReduceLROnPlateau("profit")], epochs=2, trainee=ScriptedTrainee())
    with pytest.raises(MetricError, match=r"monitor='profit' has no known direction. Set mode='min' or mode='max'"):
        loop.__enter__()
    assert "on_epoch_begin" not in recording.hooks


@pytest.mark.parametrize("trainee", [None, ScriptedTrainee(cannot={"learning_rate": "its optimizer has a schedule"})])
def test_a_trainee_without_a_learning_rate_is_refused_before_training(trainee: ScriptedTrainee | None) -> None:
    """The error names the plugin and says why the rate cannot be set, and no hook was called."""
    recording = RecordingPlugin()
    loop = Loop([recording, ReduceLROnPlateau()], epochs=2, trainee=trainee)
    reason = "its optimizer has a schedule" if trainee else "this loop was given no trainee"
    with pytest.raises(CapabilityError, match=f"'reduce_lr_on_plateau' needs the trainee's learning rate, but {reason}"):
        loop.__enter__()
    assert recording.hooks == []
    assert loop.run.outcome is Outcome.FAILED


def test_a_missing_metric_is_an_error_under_the_plugins_name() -> None:
    """The error for a missing metric lists the metrics that exist and the nearest name."""
    with pytest.raises(MetricError) as caught:
        train(ReduceLROnPlateau("val_los", mode="min"), [{"loss": 1, "val_loss": 2}])
    assert str(caught.value) == (
        "reduce_lr_on_plateau: no metric 'val_los' at the end of epoch 1; there are: loss, val_loss. Did you mean 'val_loss'?"
    )


def test_patience_and_cooldown_count_observations_if_validation_is_not_every_epoch() -> None:
    """Epochs without validation are not an error, and use up neither patience nor cooldown."""
    series = [{"loss": 1.0} | ({"val_loss": 1.0} if epoch % 2 else {}) for epoch in range(16)]
    run, _ = train(ReduceLROnPlateau(patience=2, cooldown=1), series, validation_freq=2)
    assert [decision.epoch for decision in run.decisions] == [5, 11]


def test_one_object_serves_two_runs_from_fresh_state() -> None:
    """The second run starts without the best value, the count and the cooldown of the first."""
    plugin = ReduceLROnPlateau("loss", patience=2, cooldown=5)
    assert cuts(plugin, [1, 1, 1]) == [2]
    assert cuts(plugin, [9, 9, 9]) == [2]


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, NAN, math.inf]), min_size=1, max_size=14),
    st.fixed_dictionaries(
        {
            "patience": st.integers(0, 3),
            "cooldown": st.integers(0, 3),
            "factor": st.sampled_from([0.1, 0.5]),
            "mode": st.sampled_from(["min", "max"]),
            "min_lr": st.sampled_from([0.0, 0.2]),
        }
    ),
    st.data(),
)
def test_stop_and_resume_gives_the_rates_of_never_stopping(
    values: list[float], parameters: dict[str, Any], data: st.DataObject
) -> None:
    """Wherever a run is cut, a new object with the state from JSON gives the same learning rate after every epoch."""
    cut = data.draw(st.integers(0, len(values) - 1))
    series = [{"m": value} for value in values]
    _, expected = train(ReduceLROnPlateau("m", **parameters), series)
    first = ReduceLROnPlateau("m", **parameters)
    _, before = train(first, series[:cut])
    carried = state.loads(state.dumps(first.state_dict()))
    _, after = train(ReduceLROnPlateau("m", **parameters), series, learning_rate=before[-1], start=cut, resume=carried)
    assert (before if cut else []) + after == expected


@pytest.mark.parametrize(
    ("parameter", "value", "expectation"),
    [
        ("factor", 0, "a finite number above 0 and below 1"),
        ("factor", 1, "a finite number above 0 and below 1"),
        ("factor", 1.5, "a finite number above 0 and below 1"),
        ("factor", -0.1, "a finite number above 0 and below 1"),
        ("factor", NAN, "a finite number above 0 and below 1"),
        ("factor", True, "a finite number above 0 and below 1"),
        ("patience", -1, "an integer of at least 0"),
        ("patience", True, "an integer of at least 0"),
        ("patience", 1.5, "an integer of at least 0"),
        ("cooldown", -1, "an integer of at least 0"),
        ("min_delta", -1e-9, "a finite number of at least 0"),
        ("min_delta", NAN, "a finite number of at least 0"),
        ("min_delta", math.inf, "a finite number of at least 0"),
        ("min_lr", -1, "a finite number of at least 0"),
        ("min_lr", NAN, "a finite number of at least 0"),
        ("monitor", "", "a non-empty string"),
        ("mode", "mni", "one of 'auto', 'min', 'max'"),
        ("missing", "no", "one of 'error', 'warn', 'skip'"),
    ],
)
def test_a_parameter_outside_its_range_is_refused(parameter: str, value: Any, expectation: str) -> None:
    """The error names the class, the parameter, what was expected and the value."""
    with pytest.raises(ParameterError) as caught:
        ReduceLROnPlateau(**{parameter: value})
    assert str(caught.value).startswith(f"ReduceLROnPlateau: {parameter} must be {expectation}, got {value!r}.")
