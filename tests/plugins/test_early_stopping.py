"""EarlyStopping in real runs over scripted metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import CapabilityError, Engine, HookcoreWarning, MetricError, Outcome, ParameterError, Run, state
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import EarlyStopping
from tests.plugins.resuming import resuming

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

NAN = math.nan


def train(
    plugin: EarlyStopping,
    series: Sequence[Mapping[str, float]],
    *,
    trainee: ScriptedTrainee | None = None,
    validation_freq: int | Collection[int] = 1,
    start: int = 0,
    resume: Mapping[str, Any] | None = None,
) -> Run:
    """Train a run with the metrics of `series`, one mapping for each epoch, in which the weights of epoch n are [n]."""
    trainee = trainee or ScriptedTrainee()
    loop = Loop(
        [*resuming(plugin, resume), plugin],
        epochs=len(series),
        initial_epoch=start,
        trainee=trainee,
        validation_freq=validation_freq,
    )
    loop.run.progress.step = start
    with loop:
        for epoch in loop.epochs():
            trainee.weights, trainee.optimizer_state = [float(epoch)], [float(epoch)]
            loop.log(series[epoch])
    return loop.run


def stop_epoch(plugin: EarlyStopping, values: Sequence[float], **kwargs: Any) -> int | None:
    """Return the epoch of the vote over the monitored values `values`, or None if there was no vote."""
    run = train(plugin, [{plugin.monitor: value} for value in values], **kwargs)
    return run.stop_reasons[0].epoch if run.stop_reasons else None


@pytest.mark.parametrize(
    ("mode", "min_delta", "values", "expected"),
    [
        ("min", 0.0, [3, 2, 2, 1], 2),
        ("max", 0.0, [1, 2, 2, 3], 2),
        ("min", 0.0, [3, 2, 1], None),
        ("max", 0.0, [1, 2, 3], None),
        ("min", 0.5, [3, 2.5, 2], 1),
        ("max", 0.5, [1, 1.5, 2], 1),
        ("min", 0.5, [3, 2.25, 1.5], None),
        ("max", 0.5, [1, 1.75, 2.5], None),
    ],
)
def test_better_is_strict_and_by_more_than_min_delta(
    mode: Any, min_delta: float, values: list[float], expected: int | None
) -> None:
    """An equal value is no improvement, and neither is one that is better by exactly min_delta."""
    assert stop_epoch(EarlyStopping("m", min_delta=min_delta, patience=1, mode=mode), values) == expected


def test_min_delta_is_measured_from_the_best_value_not_from_the_previous() -> None:
    """Small steps count together: they are an improvement once their sum exceeds min_delta."""
    plugin = EarlyStopping("loss", min_delta=1.0, patience=3)
    assert stop_epoch(plugin, [5, 4.5, 4, 3.5, 3.2, 3]) is None
    assert (plugin.best, plugin.best_epoch) == (3.5, 3)


@pytest.mark.parametrize(("patience", "expected"), [(0, 1), (1, 1), (2, 2), (5, 5), (6, None)])
def test_patience_is_the_number_of_observations_without_improvement(patience: int, expected: int | None) -> None:
    """A flat series stops at epoch `patience`; 0 and 1 both stop at the first observation that did not improve."""
    assert stop_epoch(EarlyStopping("loss", patience=patience), [1] * 6) == expected


def test_an_improvement_starts_the_waiting_again() -> None:
    """Observations without improvement count only in a row."""
    assert stop_epoch(EarlyStopping("loss", patience=2), [5, 6, 4, 6, 3, 6, 6, 1]) == 6


def test_the_vote_says_what_was_seen() -> None:
    """The stop reason carries the plugin's name, the metric, its value and the best value, and reads as a sentence."""
    run = train(EarlyStopping("loss", patience=2), [{"loss": value} for value in (3, 1, 2, 4, 0)])
    (reason,) = run.stop_reasons
    assert (reason.plugin, reason.epoch, reason.metric, reason.value, reason.best) == ("early_stopping", 3, "loss", 4, 1)
    assert reason.message == "loss has not improved for 2 observations: 4, best 1 at epoch 2"
    assert run.outcome is Outcome.STOPPED


def test_the_vote_after_one_observation_uses_the_singular() -> None:
    """With a patience of one the vote says `1 observation`."""
    run = train(EarlyStopping("loss", patience=1), [{"loss": 1}, {"loss": 2}])
    assert run.stop_reasons[0].message == "loss has not improved for 1 observation: 2, best 1 at epoch 1"


@pytest.mark.parametrize(
    ("values", "expected", "best"),
    [
        ([NAN, 5, 4, 3], None, 3),
        ([NAN, NAN, 4, 3], 1, None),
        ([NAN, NAN, NAN], 1, None),
        ([5, NAN, 4, NAN, 3], None, 3),
        ([5, NAN, NAN, 1], 2, 5),
        ([5, NAN, 6, 1], 2, 5),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_is_an_observation_that_never_improves(
    values: list[float], expected: int | None, best: float | None, sign: int
) -> None:
    """NaN first, later or always counts towards patience and never becomes best, so that a number after it can."""
    plugin = EarlyStopping("m", patience=2, mode="min" if sign == 1 else "max")
    assert stop_epoch(plugin, [sign * value for value in values]) == expected
    assert plugin.best == (None if best is None else sign * best)


def test_a_run_of_nothing_but_nan_restores_no_weights() -> None:
    """If no epoch was best, the weights stay as the last epoch left them, and the reason says that there is no best."""
    trainee = ScriptedTrainee()
    run = train(EarlyStopping("loss", patience=2, restore_best_weights=True), [{"loss": NAN}] * 4, trainee=trainee)
    assert trainee.weights == [1.0]
    assert run.stop_reasons[0].message == "loss has not improved for 2 observations: nan, best none"


@pytest.mark.parametrize(
    ("mode", "baseline", "values", "expected"),
    [
        ("min", 0.5, [3, 2, 1, 0.9], None),
        ("min", 0.5, [3, 2, 1, 1], 3),
        ("min", 0.5, [3, 0.4, 0.6, 0.3, 0.6, 0.6], 5),
        ("min", 0.5, [0.5, 0.5, 0.5], 1),
        ("max", 0.5, [0.1, 0.6, 0.5, 0.7], None),
        ("max", 0.5, [0.1, 0.2, 0.1], 2),
    ],
)
def test_only_a_value_better_than_the_baseline_starts_the_waiting_again(
    mode: Any, baseline: float, values: list[float], expected: int | None
) -> None:
    """An improvement that does not strictly beat the baseline does not restart the count, but delays the vote."""
    assert stop_epoch(EarlyStopping("m", patience=2, mode=mode, baseline=baseline), values) == expected


def test_min_delta_holds_for_the_baseline_too() -> None:
    """The baseline is beaten by more than min_delta or not at all."""
    assert stop_epoch(EarlyStopping("loss", min_delta=0.1, patience=2, baseline=0.5), [0.45, 0.45, 0.1]) == 1
    assert stop_epoch(EarlyStopping("loss", min_delta=0.1, patience=2, baseline=0.5), [0.35, 0.35, 0.1]) is None


def test_the_vote_names_the_baseline() -> None:
    """A reader of the reason sees why a run that improved was stopped so soon."""
    run = train(EarlyStopping("loss", patience=3, baseline=0.5), [{"loss": 3}, {"loss": 2}, {"loss": 2}])
    assert run.stop_reasons[0].message.endswith("best 2 at epoch 2, baseline 0.5")


def test_epochs_before_start_from_epoch_are_not_observed() -> None:
    """A very good early epoch neither becomes best nor uses patience up; epochs count from 0."""
    plugin = EarlyStopping("loss", patience=1, start_from_epoch=2)
    assert stop_epoch(plugin, [0, 1, 9, 8, 8]) == 4
    assert (plugin.best, plugin.best_epoch) == (8, 3)


def test_a_metric_may_be_missing_before_start_from_epoch() -> None:
    """A metric may be missing before start_from_epoch."""
    run = train(EarlyStopping("loss", start_from_epoch=2), [{}, {}, {"loss": 1}, {"loss": 0}])
    assert run.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(("values", "outcome"), [([3, 1, 2], Outcome.COMPLETED), ([3, 1, 2, 2, 2], Outcome.STOPPED)])
def test_the_best_weights_come_back_however_the_run_ended(values: list[float], outcome: Outcome) -> None:
    """The best weights come back after a vote and after the last epoch; the optimizer state stays that of the last epoch."""
    trainee = ScriptedTrainee()
    plugin = EarlyStopping("loss", patience=2, restore_best_weights=True)
    run = train(plugin, [{"loss": value} for value in values], trainee=trainee)
    assert run.outcome is outcome
    assert (trainee.weights, trainee.optimizer_state) == ([1.0], [float(run.progress.epoch)])


def test_the_weights_stay_if_restoring_was_not_asked_for() -> None:
    """Without restore_best_weights the trainee is not touched, and needs no snapshots."""
    trainee = ScriptedTrainee(cannot={"snapshot": "it cannot copy its weights"})
    train(EarlyStopping("loss"), [{"loss": 1}, {"loss": 2}], trainee=trainee)
    assert trainee.weights == [1.0]


def test_the_best_epoch_that_does_not_beat_the_baseline_is_still_restored() -> None:
    """The baseline affects the vote only: the weights of the best epoch are restored even if it did not beat the baseline."""
    trainee = ScriptedTrainee()
    plugin = EarlyStopping("loss", patience=3, baseline=0.5, restore_best_weights=True)
    train(plugin, [{"loss": value} for value in (3, 1, 2)], trainee=trainee)
    assert trainee.weights == [1.0]


@pytest.mark.parametrize(("error", "outcome"), [(RuntimeError, Outcome.FAILED), (KeyboardInterrupt, Outcome.INTERRUPTED)])
def test_an_exception_leaves_the_weights_unchanged(error: type[BaseException], outcome: Outcome) -> None:
    """After an exception, Ctrl-C included, nothing is restored."""
    trainee = ScriptedTrainee()
    loop = Loop([EarlyStopping("loss", patience=5, restore_best_weights=True)], epochs=3, trainee=trainee)
    with pytest.raises(error), loop:  # noqa: PT012 - the error comes out of the middle of the loop
        for epoch in loop.epochs():
            trainee.weights = [float(epoch)]
            if epoch == 2:
                raise error
            loop.log(loss=epoch)
    assert loop.run.outcome is outcome
    assert trainee.weights == [2.0]


def test_snapshots_are_asked_for_before_the_first_batch() -> None:
    """With restore_best_weights a trainee without snapshots is refused by the plugin's name."""
    trainee = ScriptedTrainee(cannot={"snapshot": "the weights lie on another machine"})
    with pytest.raises(CapabilityError, match="'early_stopping' needs the trainee's snapshot, but the weights lie on another"):
        train(EarlyStopping("loss", restore_best_weights=True), [{"loss": 1}], trainee=trainee)


@pytest.mark.parametrize(
    ("monitor", "declared", "expected"),
    [
        ("val_loss", None, 1),
        ("loss", None, 1),
        ("val_acc", None, 2),
        ("auc", None, 2),
        ("loss", "max", 2),
        ("my_score", "max", 2),
        ("my_score", "min", 1),
    ],
)
def test_auto_takes_the_direction_that_the_trainee_declares_else_the_table(monitor: str, declared: Any, expected: int) -> None:
    """The direction that the trainee declares comes before the table of well-known names."""
    trainee = ScriptedTrainee(directions={monitor: declared} if declared else {})
    assert stop_epoch(EarlyStopping(monitor, patience=1), [1, 2, 0], trainee=trainee) == expected


def test_an_explicit_mode_comes_before_what_the_trainee_declares() -> None:
    """An explicit mode comes before the direction that the trainee declares."""
    trainee = ScriptedTrainee(directions={"loss": "min"})
    assert stop_epoch(EarlyStopping("loss", patience=1, mode="max"), [1, 2, 0], trainee=trainee) == 2


@pytest.mark.parametrize("monitor", ["lossless_score", "macc", "val_profit"])
def test_an_unknown_direction_is_refused_before_training(monitor: str) -> None:
    """No guess is made from a part of the name; the error asks for a mode, and no epoch has begun."""
    recording = RecordingPlugin()
    loop = Loop([recording, EarlyStopping(monitor)], epochs=2)
    with pytest.raises(MetricError, match=rf"monitor='{monitor}' has no known direction.* mode='min' or mode='max'"):
        loop.__enter__()
    assert "on_epoch_begin" not in recording.hooks
    assert loop.run.outcome is Outcome.FAILED


def test_a_missing_metric_is_an_error_that_lists_what_is_there() -> None:
    """The error names the plugin, the metric, the epoch, what is there and the nearest name."""
    with pytest.raises(MetricError) as caught:
        train(EarlyStopping("val_acuracy", mode="max"), [{"loss": 1, "val_loss": 2, "val_accuracy": 0.5}])
    assert str(caught.value) == (
        "early_stopping: no metric 'val_acuracy' at the end of epoch 1; there are: loss, val_accuracy, val_loss. "
        "Did you mean 'val_accuracy'?"
    )
    assert "Raised by plugin 'early_stopping' (hookcore_plugins.early_stopping) in on_metrics." in caught.value.__notes__


def test_a_missing_validation_metric_asks_whether_there_was_validation() -> None:
    """If there is no metric of validation at all, the error asks whether there was validation."""
    with pytest.raises(MetricError, match=r"there are: loss\..* Nothing was validated: .*validation_freq"):
        train(EarlyStopping(), [{"loss": 1}])


def test_a_missing_metric_is_reported_under_the_name_that_the_plugin_was_given() -> None:
    """The error has the name that the plugin was given, which tells two plugins of one class apart."""
    loop = Loop([("stop_on_auc", EarlyStopping("auc"))], epochs=1)
    with (
        pytest.raises(
            MetricError,
            match=r"^stop_on_auc: no metric 'auc' at the end of epoch 1; there are: none\. There are no metrics at all",
        ),
        loop,
    ):
        for _ in loop.epochs():
            pass


def test_missing_warn_warns_and_continues() -> None:
    """The run continues without observations, and warns."""
    with pytest.warns(HookcoreWarning, match="early_stopping: no metric 'val_loss'"):
        run = train(EarlyStopping(missing="warn", patience=1), [{"loss": 1}] * 3)
    assert run.outcome is Outcome.COMPLETED


def test_missing_skip_says_nothing() -> None:
    """The run continues without observations, silently: a warning would be an error in these tests."""
    plugin = EarlyStopping(missing="skip", patience=1)
    assert train(plugin, [{"loss": 1}] * 3).outcome is Outcome.COMPLETED
    assert plugin.best is None


@pytest.mark.parametrize(("validation_freq", "validated"), [(2, {1, 3, 5, 7}), ([1, 4, 5], {0, 3, 4})])
def test_patience_counts_observations_if_validation_is_not_every_epoch(
    validation_freq: int | Collection[int], validated: set[int]
) -> None:
    """Epochs without validation neither use patience up nor are an error."""
    series = [{"loss": 0.0} | ({"val_loss": 1.0} if epoch in validated else {}) for epoch in range(8)]
    run = train(EarlyStopping(patience=2), series, validation_freq=validation_freq)
    assert [reason.epoch for reason in run.stop_reasons] == [sorted(validated)[2]]


@pytest.mark.parametrize("validation_freq", [3, [3, 4]])
def test_an_error_where_validation_was_due_and_its_metric_is_absent(validation_freq: int | Collection[int]) -> None:
    """The first epoch in which validation was due, counted from one as in Keras, is the first in which the metric is missed."""
    with pytest.raises(MetricError, match="no metric 'val_loss' at the end of epoch 3"):
        train(EarlyStopping(), [{"loss": 1}] * 4, validation_freq=validation_freq)


def test_a_metric_that_was_there_once_is_not_missed_later() -> None:
    """A metric that is logged only now and then is observed when it is logged."""
    run = train(EarlyStopping("auc", patience=2), [{"auc": 1}, {}, {"auc": 1}, {}, {}, {"auc": 1}, {"auc": 1}])
    assert [reason.epoch for reason in run.stop_reasons] == [5]


def test_one_object_serves_two_runs_from_fresh_state() -> None:
    """The second run knows nothing of the first one's best value or waiting, with a new engine or with the same."""
    plugin = EarlyStopping("loss", patience=2)
    assert stop_epoch(plugin, [1, 2, 3]) == 2
    assert stop_epoch(plugin, [9, 8, 7]) is None
    assert (plugin.best, plugin.best_epoch) == (7, 2)
    engine = Engine([plugin])
    for _ in range(2):
        with Loop(engine, epochs=2) as loop:
            for _epoch in loop.epochs():
                loop.log(loss=5)
        assert not loop.run.stop_reasons


def test_weights_kept_in_one_run_are_not_restored_in_the_next() -> None:
    """A run in which nothing improved restores nothing, even if the run before it never came to its end."""
    plugin = EarlyStopping("loss", restore_best_weights=True, patience=5)
    abandoned = Loop([plugin], epochs=2, trainee=ScriptedTrainee())
    abandoned.__enter__()
    for epoch in abandoned.epochs():
        if epoch:
            break
        abandoned.log(loss=0)
    trainee = ScriptedTrainee()
    train(plugin, [{"loss": NAN}] * 2, trainee=trainee)
    assert trainee.weights == [1.0]


def test_the_kept_weights_are_let_go_when_the_run_ends() -> None:
    """A plugin object that lives on does not hold a copy of the weights."""
    plugin = EarlyStopping("loss", restore_best_weights=True)
    train(plugin, [{"loss": 1}])
    assert plugin.best_weights is None


VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, NAN, math.inf, -math.inf]), min_size=1, max_size=12)
PARAMETERS = st.fixed_dictionaries(
    {
        "patience": st.integers(0, 4),
        "mode": st.sampled_from(["min", "max"]),
        "min_delta": st.sampled_from([0.0, 0.5]),
        "baseline": st.sampled_from([None, 1.0]),
        "start_from_epoch": st.integers(0, 3),
    }
)


@given(VALUES, PARAMETERS, st.data())
def test_stop_and_resume_stops_where_never_stopping_does(
    values: list[float], parameters: dict[str, Any], data: st.DataObject
) -> None:
    """Wherever a run is cut, a new object with the state from JSON gives the same vote, best value and epoch."""
    whole = EarlyStopping("m", **parameters)
    expected = train(whole, [{"m": value} for value in values]).stop_reasons
    cut = data.draw(st.integers(0, len(values) if not expected else expected[0].epoch))
    first = EarlyStopping("m", **parameters)
    train(first, [{"m": value} for value in values[:cut]])
    carried = state.loads(state.dumps(first.state_dict()))
    second = EarlyStopping("m", **parameters)
    resumed = train(second, [{"m": value} for value in values], start=cut, resume=carried).stop_reasons
    assert repr(resumed) == repr(expected)  # by repr, for NaN differs from itself
    assert repr((second.best, second.best_epoch)) == repr((whole.best, whole.best_epoch))


@given(VALUES, st.integers(0, 4), st.sampled_from(["min", "max"]), st.sampled_from([0.0, 0.5]))
def test_the_vote_comes_where_a_plain_count_says(values: list[float], patience: int, mode: Any, min_delta: float) -> None:
    """The vote is at the first epoch at which the last max(patience, 1) values all failed to beat the best before them."""
    best, waited, expected = None, 0, None
    for epoch, value in enumerate(values):
        gain = math.inf if best is None else (best - value if mode == "min" else value - best)
        # inf - inf is NaN, and an infinity equal to the best is no gain.
        if not math.isnan(value) and gain > min_delta:
            best, waited = value, 0
        else:
            waited += 1
        if waited >= max(patience, 1):
            expected = epoch
            break
    assert stop_epoch(EarlyStopping("m", patience=patience, mode=mode, min_delta=min_delta), values) == expected


@pytest.mark.parametrize(
    ("parameter", "value", "expectation"),
    [
        ("patience", -1, "an integer of at least 0"),
        ("patience", True, "an integer of at least 0"),
        ("patience", 1.5, "an integer of at least 0"),
        ("patience", "3", "an integer of at least 0"),
        ("start_from_epoch", -1, "an integer of at least 0"),
        ("min_delta", -0.1, "a finite number of at least 0"),
        ("min_delta", NAN, "a finite number of at least 0"),
        ("min_delta", math.inf, "a finite number of at least 0"),
        ("baseline", NAN, "a finite number or None"),
        ("baseline", "0.5", "a finite number or None"),
        ("monitor", "", "a non-empty string"),
        ("monitor", "  ", "a non-empty string"),
        ("monitor", None, "a non-empty string"),
        ("restore_best_weights", 1, "True or False"),
        ("mode", "mni", "one of 'auto', 'min', 'max'"),
        ("mode", None, "one of 'auto', 'min', 'max'"),
        ("missing", "ignore", "one of 'error', 'warn', 'skip'"),
    ],
)
def test_a_parameter_outside_its_range_is_refused(parameter: str, value: Any, expectation: str) -> None:
    """The error names the class, the parameter, what was expected and the value."""
    with pytest.raises(ParameterError) as caught:
        EarlyStopping(**{parameter: value})
    assert str(caught.value).startswith(f"EarlyStopping: {parameter} must be {expectation}, got {value!r}.")


def test_a_misspelt_mode_is_told_the_nearest() -> None:
    """The error for mode='mni' says 'min'."""
    with pytest.raises(ParameterError, match="Did you mean 'min'"):
        EarlyStopping(mode="mni")  # type: ignore[arg-type]  # on purpose
