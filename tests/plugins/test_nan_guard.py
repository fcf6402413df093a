"""NaNGuard in real runs over scripted metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import Engine, HookcoreWarning, MetricError, Outcome, ParameterError, Progress, Run, state
from hookcore.testing import RecordingPlugin
from hookcore_adapters.loop import Loop
from hookcore_plugins import NaNGuard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAN, INF = math.nan, math.inf


def train(
    plugin: NaNGuard,
    epochs: Sequence[Sequence[float]],
    *others: Any,
    at_epoch_end: Mapping[str, Any] | None = None,
) -> Run:
    """Train with the losses of `epochs`, one sequence of batches an epoch; `at_epoch_end` is logged after the batches."""
    with Loop([plugin, *others], epochs=len(epochs)) as loop:
        for epoch in loop.epochs():
            for loss in loop.batches(epochs[epoch]):
                loop.log(loss=loss)
            loop.log(at_epoch_end)
    return loop.run


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_bad_loss_stops_the_run_after_its_batch(bad: float) -> None:
    """NaN and both infinities end the run before another batch is trained, with one vote that says what and where."""
    recording = RecordingPlugin()
    run = train(NaNGuard(), [[1, 1], [1, bad, 1], [1, 1]], recording)
    (reason,) = run.stop_reasons
    assert (reason.plugin, reason.metric, repr(reason.value)) == ("nan_guard", "loss", repr(bad))
    assert reason.message == f"loss is {bad} at epoch 2, step 4"
    assert run.progress.step == 4
    assert run.outcome is Outcome.STOPPED
    assert recording.hooks.count("on_epoch_end") == 2


def test_finite_losses_let_the_run_complete() -> None:
    """Zero, negative and very large losses are numbers."""
    run = train(NaNGuard(), [[0.0, -1.0, 1.7e308], [1e-300]])
    assert run.outcome is Outcome.COMPLETED
    assert not run.stop_reasons


def test_a_bad_metric_at_the_end_of_an_epoch_stops_the_run() -> None:
    """The same metric of validation is checked too; any other may be NaN for good reasons, such as an AUC of one class."""
    run = train(NaNGuard(), [[1], [1]], at_epoch_end={"val_loss": INF, "val_auc": NAN})
    assert [(reason.metric, reason.epoch) for reason in run.stop_reasons] == [("val_loss", 0)]
    assert train(NaNGuard(), [[1]], at_epoch_end={"val_loss": 1.0, "val_auc": NAN}).outcome is Outcome.COMPLETED


def test_the_monitored_metric_may_be_of_validation_only() -> None:
    """If several metrics are not finite, the vote names the monitored one."""
    run = train(NaNGuard("val_loss"), [[1]], at_epoch_end={"a": NAN, "val_loss": INF})
    assert [reason.metric for reason in run.stop_reasons] == ["val_loss"]


@pytest.mark.parametrize(("batches", "step"), [([1, NAN, 1, 1], 2), ([1, 1, 1, 1, NAN], 5)])
def test_action_raise_fails_the_run(batches: list[float], step: int) -> None:
    """The error names the plugin, the metric, its value and the step, and the run's outcome is failed."""
    recording = RecordingPlugin()
    loop = Loop([NaNGuard(action="raise"), recording], epochs=1)
    with pytest.raises(MetricError) as caught, loop:  # noqa: PT012 - the error comes out of the middle of the loop
        for _ in loop.epochs():
            for loss in loop.batches(batches):
                loop.log(loss=loss)
    assert str(caught.value) == f"nan_guard: loss is nan at epoch 1, step {step}."
    assert loop.run.outcome is Outcome.FAILED
    assert "on_epoch_end" not in recording.hooks


def test_action_raise_holds_at_the_end_of_an_epoch_too() -> None:
    """A metric that exists only at the end of an epoch raises as well."""
    with pytest.raises(MetricError, match="nan_guard: val_loss is inf at epoch 1, step 1"):
        train(NaNGuard(action="raise"), [[1], [1]], at_epoch_end={"val_loss": INF})


@attrs.frozen
class Device:
    """A value on a device: reading it is counted."""

    reads: list[int]

    def __float__(self) -> float:
        self.reads.append(1)
        return 1.0

    def __radd__(self, other: float) -> Device:
        return self

    def __add__(self, other: Device) -> Device:
        return self

    def __truediv__(self, other: int) -> Device:
        return self


@pytest.mark.parametrize(("every", "expected"), [(1, 12), (3, 4), (4, 3), (5, 2), (13, 0)])
def test_batches_between_are_not_read(every: int, expected: int) -> None:
    """With every_n_steps=n the metric of one batch in n is read, counted across epochs; a read waits for the device."""
    reads: list[int] = []
    with Loop([NaNGuard(every_n_steps=every, missing="skip")], epochs=3) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(4)):
                loop.log(loss=Device(reads))
            reads.append(0)
    # The history reads the mean of each epoch, and the guard then finds it converted.
    assert sum(reads) == expected + 3


def test_a_bad_loss_between_is_noticed_at_the_next_look() -> None:
    """A loss that stays NaN is seen at the next multiple of every_n_steps, or at the end of the epoch."""
    assert train(NaNGuard(every_n_steps=3), [[1, 1, 1, NAN, NAN, NAN, NAN]]).progress.step == 6
    assert train(NaNGuard(every_n_steps=5), [[1, NAN, NAN], [1]]).stop_reasons[0].step == 3


def test_steps_are_counted_across_executions_of_several_batches() -> None:
    """If a framework runs several batches at a time, a multiple that was passed counts as reached."""
    guard, run = NaNGuard(every_n_steps=5), Run()
    session = Engine([guard], autoload=False).start(run)
    session.batches_end({"loss": NAN}, 3, 3)
    assert not run.stop_reasons
    session.batches_end({"loss": NAN}, 3, 3)
    assert [reason.step for reason in run.stop_reasons] == [6]


def test_a_monitor_that_batches_lack_is_looked_at_when_the_epoch_ends() -> None:
    """A validation metric is not missed after a batch."""
    run = train(NaNGuard("val_loss"), [[1, 1], [1, 1]], at_epoch_end={"val_loss": NAN})
    assert [(reason.metric, reason.step) for reason in run.stop_reasons] == [("val_loss", 2)]


def test_a_metric_that_is_never_there_is_an_error() -> None:
    """A monitor that is missing in an observation is an error that names the nearest metric."""
    with pytest.raises(MetricError, match=r"nan_guard: no metric 'los' at the end of epoch 1; .* Did you mean 'loss'\?"):
        train(NaNGuard("los"), [[1]])


def test_missing_warn_and_skip_do_not_end_the_run() -> None:
    """With missing='warn' a missing monitor is a warning, with 'skip' it is ignored."""
    with pytest.warns(HookcoreWarning, match="nan_guard: no metric 'los'"):
        assert train(NaNGuard("los", missing="warn"), [[1]]).outcome is Outcome.COMPLETED
    assert train(NaNGuard("los", missing="skip"), [[NAN]]).outcome is Outcome.COMPLETED


def test_one_object_serves_two_runs_from_fresh_state() -> None:
    """The second run counts its steps from its own beginning."""
    guard = NaNGuard(every_n_steps=2)
    train(guard, [[1] * 7])
    assert train(guard, [[1, NAN, 1, 1]]).progress.step == 2


@given(st.integers(1, 5), st.integers(0, 12), st.integers(0, 12))
def test_stop_and_resume_looks_at_the_batches_of_never_stopping(every: int, cut: int, bad: int) -> None:
    """Wherever a run is cut, a new object with the state from JSON votes at the same step."""

    def votes(guard: NaNGuard, steps: range, carried: Any = None) -> list[int]:
        session = Engine([guard], autoload=False).start(Run(progress=Progress(step=steps.start)))
        if carried is not None:
            guard.load_state_dict(carried)
        for step in steps:
            if not session.stopping:
                session.batch_end(step, {"loss": NAN if step >= bad else 1.0})
        return [reason.step for reason in session.run.stop_reasons]

    expected = votes(NaNGuard(every_n_steps=every), range(13))
    first = NaNGuard(every_n_steps=every)
    before = votes(first, range(cut))
    carried = state.loads(state.dumps(first.state_dict()))
    assert (before or votes(NaNGuard(every_n_steps=every), range(cut, 13), carried)) == expected


@pytest.mark.parametrize(
    ("parameter", "value", "expectation"),
    [
        ("monitor", "", "a non-empty string"),
        ("every_n_steps", 0, "an integer of at least 1"),
        ("every_n_steps", True, "an integer of at least 1"),
        ("every_n_steps", 2.0, "an integer of at least 1"),
        ("action", "rais", "one of 'stop', 'raise'"),
        ("missing", None, "one of 'error', 'warn', 'skip'"),
    ],
)
def test_a_parameter_outside_its_range_is_refused(parameter: str, value: Any, expectation: str) -> None:
    """The error names the class, the parameter, what was expected and the value."""
    with pytest.raises(ParameterError) as caught:
        NaNGuard(**{parameter: value})
    assert str(caught.value).startswith(f"NaNGuard: {parameter} must be {expectation}, got {value!r}.")


def test_it_is_called_nan_guard() -> None:
    """Its name in messages is its name in the catalogue."""
    assert Engine([NaNGuard()], autoload=False).names == Engine(["nan_guard"], autoload=False).names == ["nan_guard"]
