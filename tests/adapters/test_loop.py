"""The events of a hand-written loop, for each way in which it can end."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import pytest

from hookcore import (
    CapabilityError,
    Engine,
    HookcoreError,
    MetricError,
    Outcome,
    ParameterError,
    Run,
    StopReason,
    hookimpl,
    store,
)
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@attrs.define(eq=False)
class StopAt:
    """Votes to stop at one event."""

    hook: str
    number: int = 0

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        self._stop(run, "on_train_begin", 0)

    @hookimpl
    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        self._stop(run, "on_epoch_begin", epoch)

    @hookimpl
    def on_batch_begin(self, run: Run, batch: int) -> None:
        self._stop(run, "on_batch_begin", batch)

    @hookimpl
    def on_batch_end(self, run: Run, batch: int) -> None:
        self._stop(run, "on_batch_end", batch)

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        self._stop(run, "on_epoch_end", epoch)

    def _stop(self, run: Run, hook: str, number: int) -> None:
        if (hook, number) == (self.hook, self.number):
            run.stop(f"at {hook} {number}")


def events_of(*plugins: object, **options: Any) -> list[str]:
    """Return the events of two epochs of two batches, in short: `e0`, `b0` and so on, `/b0` for the end of a batch, `m`."""
    recording = RecordingPlugin()
    with Loop([*plugins, recording], **{"epochs": 2, **options}) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                pass
    seen = []
    for event in recording.events:
        if event[0] == "on_metrics":
            seen.append("m")
            continue
        what, _, end = event[0].removeprefix("on_").rpartition("_")
        number = "" if what == "train" else event[1]
        seen.append(f"{'/' if end == 'end' else ''}{what if what == 'train' else what[0]}{number}")
    return seen


# Normal runs.


def test_the_events_of_a_normal_run() -> None:
    """Every epoch and every batch begins and ends within the training, numbered from zero."""
    assert " ".join(events_of()) == "train e0 b0 /b0 b1 /b1 /e0 m e1 b0 /b0 b1 /b1 /e1 m /train"


def test_initial_epoch_begins_later() -> None:
    """`initial_epoch` is the number of the first epoch; earlier ones count as done."""
    assert " ".join(events_of(initial_epoch=1)) == "train e1 b0 /b0 b1 /b1 /e1 m /train"
    assert " ".join(events_of(initial_epoch=2)) == "train /train"


def test_a_loop_without_a_number_of_epochs_ends_by_a_vote() -> None:
    """With `epochs=None`, the loop continues until a plugin stops it."""
    seen = events_of(StopAt("on_epoch_end", 3), epochs=None)
    assert [event for event in seen if event.startswith("/e")] == ["/e0", "/e1", "/e2", "/e3"]


def test_plugins_see_what_the_loop_was_given() -> None:
    """The run has the model, the validation data, the trainee and the lengths that the loop was given."""
    trainee, model, data = ScriptedTrainee(), object(), object()
    loop = Loop(epochs=3, steps_per_epoch=7, trainee=trainee, model=model, validation_data=data, validation_freq=2)
    run = loop.run
    assert (run.epochs, run.steps_per_epoch, run.trainee, run.model, run.validation_data, run.validation_freq) == (
        3,
        7,
        trainee,
        model,
        data,
        2,
    )
    assert run.outcome is Outcome.RUNNING


def test_an_engine_can_be_given_and_used_again() -> None:
    """An engine can be given instead of plugins, and used in one loop after the other."""
    recording = RecordingPlugin()
    engine = Engine([recording], autoload=False)
    for _ in range(2):
        with Loop(engine, epochs=1) as loop:
            assert list(loop.epochs()) == [0]
        assert engine.run is loop.run
    assert recording.hooks == ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_metrics", "on_train_end"] * 2


def test_progress_and_steps_are_counted() -> None:
    """Each trained batch counts as a step, over all epochs."""
    with Loop(epochs=2) as loop:
        steps = [loop.run.progress.step for _ in loop.epochs() for _ in loop.batches("abc")]
    assert steps == [0, 1, 2, 3, 4, 5]
    assert attrs.astuple(loop.run.progress) == (1, 2, 6, 0)


def test_an_epoch_without_batches_is_one_step() -> None:
    """An epoch whose body does not call `batches` counts one step; one with empty data counts none."""
    with Loop(epochs=2) as loop:
        for epoch in loop.epochs():
            assert loop.run.progress.step == 3 * epoch
            if epoch == 0:
                list(loop.batches("abc"))
    assert loop.run.progress.step == 4
    for plugins, data in ([], ""), ([StopAt("on_epoch_begin")], "ab"):
        with Loop(plugins, epochs=1) as loop:
            assert [list(loop.batches(data)) for _ in loop.epochs()] == [[]]
        assert loop.run.progress.step == 0


# Stops.


@pytest.mark.parametrize(
    ("hook", "number", "expected"),
    [
        ("on_train_begin", 0, "train /train"),
        ("on_epoch_begin", 0, "train e0 /e0 m /train"),
        ("on_epoch_begin", 1, "train e0 b0 /b0 b1 /b1 /e0 m e1 /e1 m /train"),
        ("on_batch_begin", 0, "train e0 b0 /b0 /e0 m /train"),
        ("on_batch_end", 0, "train e0 b0 /b0 /e0 m /train"),
        ("on_batch_end", 1, "train e0 b0 /b0 b1 /b1 /e0 m /train"),
        ("on_epoch_end", 0, "train e0 b0 /b0 b1 /b1 /e0 m /train"),
    ],
)
def test_a_vote_stops_before_the_next_batch(hook: str, number: int, expected: str) -> None:
    """After a vote no other batch begins, and the open batch and epoch end."""
    assert " ".join(events_of(StopAt(hook, number))) == expected


def test_a_vote_in_a_begin_hook_of_a_batch_leaves_that_batch_to_the_body() -> None:
    """After a vote at the beginning of a batch, the body still trains that batch."""
    with Loop([StopAt("on_batch_begin", 1)], epochs=2) as loop:
        trained = [batch for _ in loop.epochs() for batch in loop.batches(range(5))]
    assert trained == [0, 1]


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end"])
def test_a_stopped_run_has_the_outcome_stopped(hook: str) -> None:
    """A run that a plugin stopped has the outcome stopped, with only the plugin's reason."""
    with Loop([StopAt(hook)], epochs=2) as loop:
        for _ in loop.epochs():
            list(loop.batches("ab"))
    assert loop.run.outcome is Outcome.STOPPED
    assert [(reason.plugin, reason.message) for reason in loop.run.stop_reasons] == [("stop_at", f"at {hook} 0")]


# `break`.


@pytest.mark.parametrize("logs", [True, False])
def test_breaking_out_of_the_batches_ends_the_batch_and_continues(logs: bool) -> None:  # noqa: FBT001 - a parameter
    """A `break` after training a batch ends that batch and then the epoch, and the run completes."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=2) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(5)):
                loop.log(loss=float(batch))
                if batch == 1:
                    break
            if logs:
                loop.log(val_loss=3.0)
    one_epoch = ["on_epoch_begin", *["on_batch_begin", "on_batch_end"] * 2, "on_epoch_end", "on_metrics"]
    assert recording.hooks == ["on_train_begin", *one_epoch, *one_epoch, "on_train_end"]
    assert ("on_batch_end", 1, {"loss": 1.0}) in recording.events
    assert ("on_epoch_end", 0, {"loss": 0.5, **({"val_loss": 3.0} if logs else {})}) in recording.events
    assert (loop.run.outcome, loop.run.progress.step) == (Outcome.COMPLETED, 4)


def test_breaking_out_of_the_epochs_is_a_stop_by_the_loop() -> None:
    """A run that is left by `break` before its last epoch is stopped by the loop, and the open epoch does not end."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=3) as loop:
        for epoch in loop.epochs():
            if epoch == 1:
                break
    whole_epoch = ["on_epoch_begin", "on_epoch_end", "on_metrics"]
    assert recording.hooks == ["on_train_begin", *whole_epoch, "on_epoch_begin", "on_train_end"]
    assert loop.run.outcome is Outcome.STOPPED
    assert loop.run.stop_reasons == [StopReason("loop", "the loop was left before its last epoch", epoch=1, step=1)]


def test_breaking_out_of_both_loops_ends_the_batch() -> None:
    """A `break` out of batches and epochs ends the trained batch, and the run is stopped by the loop."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=3) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(5)):
                break
            break
    assert recording.hooks == ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_train_end"]
    assert [reason.plugin for reason in loop.run.stop_reasons] == ["loop"]


@pytest.mark.parametrize("epochs", [3, None])
@pytest.mark.parametrize("within", [True, False])
def test_epochs_is_refused_while_an_epoch_is_open(epochs: int | None, *, within: bool) -> None:
    """A second loop over the epochs, in the first or after a `break` in it, is an error with advice, and begins no epoch."""
    recording = RecordingPlugin()

    def train() -> None:
        with Loop([recording], epochs=epochs) as loop:
            for _ in loop.epochs():
                loop.log(loss=1.0)
                if within:
                    next(loop.epochs())
                break
            next(loop.epochs(), None)

    with pytest.raises(HookcoreError, match=r"^Loop\.epochs was called in epoch 1, which has not ended\. .* let a plugin vote"):
        train()
    assert recording.hooks == ["on_train_begin", "on_epoch_begin", "on_exception", "on_train_end"]


def test_the_epochs_may_be_taken_from_one_iterator_in_turns() -> None:
    """An iterator over epochs that a `break` left continues with the next epoch; after the last, a second iterator is empty."""
    with Loop(epochs=3) as loop:
        epochs = loop.epochs()
        for epoch in epochs:
            if epoch == 1:
                break
        assert list(epochs) == [2]
        assert list(loop.epochs()) == []
    assert (loop.run.outcome, loop.run.history.epochs) == (Outcome.COMPLETED, [0, 1, 2])


def test_a_loop_without_a_number_of_epochs_may_be_left_by_break() -> None:
    """With `epochs=None`, a run that is left by `break` is completed."""
    with Loop() as loop:
        for epoch in loop.epochs():
            if epoch == 2:
                break
    assert (loop.run.outcome, loop.run.stop_reasons) == (Outcome.COMPLETED, [])


def test_a_loop_that_trains_nothing_is_completed() -> None:
    """A `with` block that does not call `epochs` begins and completes a run."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=3) as loop:
        pass
    assert recording.hooks == ["on_train_begin", "on_train_end"]
    assert loop.run.outcome is Outcome.COMPLETED


@attrs.define(eq=False)
class Failing:
    """An actor that raises at the end of each batch."""

    @hookimpl
    def on_batch_end(self) -> None:
        raise RuntimeError("broken")


@pytest.mark.parametrize("how", ["goes on", "break", "break twice", "log", "evaluate"])
def test_an_actors_error_is_raised_however_the_batch_is_left(how: str) -> None:
    """An actor's error at the end of a batch ends the run, also if the body left the batch by `break`."""
    recording = RecordingPlugin()
    loop = Loop([Failing(), recording], epochs=2)

    def train() -> None:
        with loop:
            for _ in loop.epochs():
                for _ in loop.batches(range(2)):
                    if how != "goes on":
                        break
                if how == "log":
                    loop.log(loss=1.0)
                if how == "evaluate":
                    with loop.evaluation():
                        pass
                if how == "break twice":
                    break

    with pytest.raises(RuntimeError, match="broken"):
        train()
    assert recording.hooks[-3:] == ["on_batch_end", "on_exception", "on_train_end"]
    assert loop.run.outcome is Outcome.FAILED
    assert len(loop.run.failures) == 1


# Exceptions.


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("bad data"), Outcome.FAILED), (KeyboardInterrupt(), Outcome.INTERRUPTED)]
)
@pytest.mark.parametrize("batch", [0, 1])
def test_an_exception_in_the_body_ends_the_run_where_it_is(error: BaseException, outcome: Outcome, batch: int) -> None:
    """After an exception in the body, batch and epoch do not end, and on_exception and on_train_end are called."""
    recording = RecordingPlugin()
    loop = Loop([recording], epochs=2)

    def train() -> None:
        with loop:
            for _ in loop.epochs():
                for number in loop.batches(range(2)):
                    loop.log(loss=1.0)
                    if number == batch:
                        raise error

    with pytest.raises(type(error)) as caught:
        train()
    assert caught.value is error
    trained = ["on_batch_begin", "on_batch_end"] * batch
    assert recording.hooks == ["on_train_begin", "on_epoch_begin", *trained, "on_batch_begin", "on_exception", "on_train_end"]
    assert recording.events[-2:] == [("on_exception", error), ("on_train_end", outcome)]
    assert (loop.run.outcome, loop.run.progress.step, loop.run.stop_reasons) == (outcome, batch, [])


def test_an_error_when_training_begins_ends_the_run() -> None:
    """An actor's error in on_train_begin ends the run before the body, and other plugins get the end."""

    class Refusing:
        @hookimpl
        def on_train_begin(self) -> None:
            raise MetricError("not like this")

    recording = RecordingPlugin()
    loop = Loop([Refusing(), recording], epochs=1)
    with pytest.raises(MetricError, match="not like this"):
        loop.__enter__()
    assert recording.hooks == ["on_train_begin", "on_exception", "on_train_end"]
    assert loop.run.outcome is Outcome.FAILED


def test_a_plugin_that_needs_a_trainee_is_refused_by_name() -> None:
    """A plugin that needs a trainee is refused by name without one, before any event."""

    @attrs.define(eq=False)
    class Needy:
        needs: ClassVar = ("learning_rate",)

        @hookimpl
        def on_train_begin(self) -> None:
            pass

    recording = RecordingPlugin()
    with pytest.raises(CapabilityError, match="'needy' needs the trainee's learning rate, but this loop was given no trainee"):
        Loop([Needy(), recording]).__enter__()
    assert recording.events == []
    with Loop([Needy()], epochs=1, trainee=ScriptedTrainee()) as loop:
        assert list(loop.epochs()) == [0]


# Metrics.


def test_the_epochs_metrics_are_the_means_of_the_batches() -> None:
    """An epoch's metric is the mean over the batches that logged it, and starts again in the next epoch."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=2) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(4)):
                loop.log(loss=batch + 10 * epoch)
                loop.log({"odd": 1.0} if batch % 2 else {}, loss=batch + 10 * epoch)
    assert loop.run.history["loss"] == [1.5, 11.5]
    assert loop.run.history["odd"] == [1.0, 1.0]
    assert [event[2] for event in recording.events if event[0] == "on_batch_end"][:2] == [
        {"loss": 0.0},
        {"loss": 1.0, "odd": 1.0},
    ]


def test_metrics_outside_the_batches_are_the_epochs() -> None:
    """The latest value that is logged outside of batches is the epoch's, also if batches have a mean of that name."""
    with Loop(epochs=2) as loop:
        for epoch in loop.epochs():
            loop.log(rate=1.0)
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
            loop.log({"val_loss": 5.0, "with space": 2.0})
            loop.log(val_loss=float(epoch), loss=7.0)
    history: Mapping[str, Any] = loop.run.history.state_dict()["metrics"]
    assert history == {"loss": [7.0, 7.0], "rate": [1.0, 1.0], "val_loss": [0.0, 1.0], "with space": [2.0, 2.0]}


def test_an_epoch_without_metrics_has_none() -> None:
    """An epoch without logs has no metrics, and NaN in the history for metrics of other epochs."""
    with Loop(epochs=2) as loop:
        for epoch in loop.epochs():
            if epoch:
                loop.log(loss=1.0)
    assert math.isnan(loop.run.history["loss"][0])
    assert loop.run.history["loss"][1] == 1.0


def test_logging_converts_nothing() -> None:
    """Logging converts no value; a batch's value is converted at the end of the epoch, or when a plugin reads it."""

    @attrs.define
    class Tensor:
        value: float
        conversions: ClassVar[list[float]] = []

        def __radd__(self, other: float) -> Tensor:
            return Tensor(self.value + other)

        def __add__(self, other: Tensor) -> Tensor:
            return Tensor(self.value + other.value)

        def __truediv__(self, count: int) -> Tensor:
            return Tensor(self.value / count)

        def __float__(self) -> float:
            self.conversions.append(self.value)
            return self.value

    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(4)):
                loop.log(loss=Tensor(batch))
            loop.log(val_loss=Tensor(9.0))
            assert Tensor.conversions == []
    assert Tensor.conversions == [1.5, 9.0]
    assert loop.run.history["loss"] == [1.5]


@pytest.mark.parametrize("method", ["log", "epochs", "batches", "evaluation"])
def test_a_loop_outside_its_with_block_raises_an_error(method: str) -> None:
    """Every method of a loop before and after its `with` block is an error that shows how to open it."""
    calls: dict[str, Callable[[Loop], object]] = {
        "log": lambda loop: loop.log(loss=1.0),
        "epochs": lambda loop: list(loop.epochs()),
        "batches": lambda loop: list(loop.batches("ab")),
        "evaluation": lambda loop: loop.evaluation().__enter__(),
    }
    loop = Loop(epochs=1)
    with pytest.raises(HookcoreError, match=rf"Loop\.{method} works only within its `with` block"):
        calls[method](loop)
    with loop:
        pass
    with pytest.raises(HookcoreError, match=rf"Loop\.{method} works only within its `with` block"):
        calls[method](loop)


# Evaluation.


def test_an_evaluation_has_events_of_its_own_and_a_prefix() -> None:
    """Within an evaluation batches are evaluated, and logged values become the epoch's with the prefix."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(1)):
                loop.log(loss=1.0)
            with loop.evaluation():
                for batch in loop.batches("ab"):
                    loop.log(loss=2.0 if batch == "a" else 3.0)
            with loop.evaluation(prefix="test_"):
                loop.log(acc=0.5)
    assert recording.events[3:] == [
        ("on_batch_end", 0, {"loss": 1.0}),
        ("on_evaluate_begin",),
        ("on_evaluate_batch_begin", 0),
        ("on_evaluate_batch_end", 0, {"loss": 2.0}),
        ("on_evaluate_batch_begin", 1),
        ("on_evaluate_batch_end", 1, {"loss": 3.0}),
        ("on_evaluate_end", {"loss": 2.5}),
        ("on_evaluate_begin",),
        ("on_evaluate_end", {"acc": 0.5}),
        ("on_epoch_end", 0, {"loss": 1.0, "val_loss": 2.5, "test_acc": 0.5}),
        ("on_metrics", {"loss": 1.0, "val_loss": 2.5, "test_acc": 0.5}),
        ("on_train_end", Outcome.COMPLETED),
    ]
    assert loop.run.progress.step == 1


def test_an_evaluation_within_a_batch_ends_it_and_is_observed_when_the_body_is_over() -> None:
    """The batch has the logs before the evaluation, the observation and the epoch have all, and none is fresh at the end."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(1)):
                loop.log(loss=1.0)
                with loop.evaluation():
                    loop.log(loss=4.0)
                loop.log(acc=0.5)
    assert recording.events[3:-1] == [
        ("on_batch_end", 0, {"loss": 1.0}),
        ("on_evaluate_begin",),
        ("on_evaluate_end", {"loss": 4.0}),
        ("on_metrics", {"loss": 1.0, "acc": 0.5, "val_loss": 4.0}),
        ("on_epoch_end", 0, {"loss": 1.0, "acc": 0.5, "val_loss": 4.0}),
    ]


def test_an_evaluation_that_raises_does_not_end() -> None:
    """After an exception within an evaluation, the run ends, without an end event of the evaluation."""
    recording = RecordingPlugin()
    loop = Loop([recording], epochs=1)

    def train() -> None:
        with loop:
            for _ in loop.epochs():
                with loop.evaluation():
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert recording.hooks[2:] == ["on_evaluate_begin", "on_exception", "on_train_end"]


def test_an_evaluations_batches_count_with_their_mean() -> None:
    """Values logged in an evaluation's batches count with their mean, and others unchanged."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            with loop.evaluation():
                for batch in loop.batches([1.0, 3.0]):
                    loop.log(loss=batch)
                loop.log(accuracy=0.5)
    assert ("on_evaluate_batch_end", 1, {"loss": 3.0}) in recording.events
    assert ("on_evaluate_end", {"loss": 2.0, "accuracy": 0.5}) in recording.events
    assert loop.run.history.last() == {"val_loss": 2.0, "val_accuracy": 0.5}


def test_a_metric_of_a_batch_that_is_no_number_is_named() -> None:
    """A metric of a batch that is not a number is an error that names it."""
    loop = Loop(epochs=1)
    with pytest.raises(MetricError, match=r"Metric 'loss' must be a number, got {'a': 1}\."), loop:  # noqa: PT012
        for _ in loop.epochs():
            for _batch in loop.batches([0]):
                loop.log(loss={"a": 1})


@attrs.frozen
class ComplexTensor:
    """A tensor like PyTorch's, which would lose its imaginary part in a sum of real numbers."""

    dtype: str = "torch.complex64"

    def detach(self) -> Any:
        return self

    def float(self) -> float:
        return 1.0


@pytest.mark.parametrize("within", ["batch", "epoch", "evaluation"])
@pytest.mark.parametrize(
    "metrics",
    [
        {"loss": np.complex64(1 + 2j)},
        {"loss": 1 + 2j},
        {"loss": ComplexTensor()},
        {"loss": 10**400},
        {"loss": np.zeros(2, complex)},
        {"a\nb": 1.0},
        {"\r": 1.0},
        {3: 1.0},
    ],
)
def test_a_metric_that_no_log_could_hold_is_refused_at_once(within: str, metrics: Any, tmp_path: Path) -> None:
    """A metric that is not a real number in a float's range, or whose name is not one line, is an error when it is logged."""
    loop = Loop([CSVLog(tmp_path / "log.csv")], epochs=2)
    with pytest.raises(MetricError, match=r"'loss' must be a number|name of a metric must be"), loop:  # noqa: PT012
        for epoch in loop.epochs():
            for _batch in loop.batches(range(2)):
                loop.log(acc=0.5)
                if epoch and within == "batch":
                    loop.log(metrics)
            if epoch and within == "epoch":
                loop.log(metrics)
            with loop.evaluation():
                loop.log(metrics if epoch and within == "evaluation" else {"acc": 1.0})
    assert (tmp_path / "log.csv").read_text().splitlines()[1:] == ["0,2,0.5,1.0"]


def test_a_loop_is_one_run() -> None:
    """Entering a loop again is an error."""
    loop = Loop(epochs=1)
    with loop:
        pass
    with pytest.raises(HookcoreError, match="A Loop is one run"), loop:
        pass


def test_state_is_fresh_when_the_run_begins_not_when_the_loop_is_made() -> None:
    """Two loops with one engine that are made before either runs both train all of their epochs."""
    engine = Engine([EarlyStopping("loss", patience=2)])
    loops = [Loop(engine, epochs=3), Loop(engine, epochs=3)]
    for first, loop in zip((1.0, 5.0), loops, strict=True):
        with loop:
            for epoch in loop.epochs():
                loop.log(loss=first - epoch / 8)
    assert [len(loop.run.history) for loop in loops] == [3, 3]


def test_a_break_in_an_evaluation_ends_its_batch() -> None:
    """A batch of an evaluation that is left by `break` ends and counts, and later logs are the evaluation's."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            with loop.evaluation():
                for batch in loop.batches([1.0, 2.0, 9.0]):
                    loop.log(loss=batch)
                    if batch == 2.0:
                        break
                loop.log(acc=0.5)
    assert loop.run.history.last() == {"val_loss": 1.5, "val_acc": 0.5}
    assert [event[1] for event in recording.events if event[0] == "on_evaluate_batch_end"] == [0, 1]


@pytest.mark.parametrize("method", ["log", "batches", "evaluation"])
def test_what_belongs_to_an_epoch_is_refused_outside_of_one(method: str) -> None:
    """Logging before the first epoch or after the last, which would be lost, is an error."""
    calls: dict[str, Callable[[Loop], object]] = {
        "log": Loop.log,
        "batches": lambda loop: next(loop.batches([1])),
        "evaluation": lambda loop: loop.evaluation().__enter__(),
    }
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            pass
        with pytest.raises(HookcoreError, match=rf"Loop\.{method} works only within an epoch"):
            calls[method](loop)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("epochs", "5"), ("epochs", -1), ("epochs", True), ("initial_epoch", 0.5), ("initial_epoch", None), ("steps_per_epoch", -2)],
)
def test_an_invalid_number_is_refused(parameter: str, value: Any) -> None:
    """An invalid number is an error that names the parameter and the value, before the run begins."""
    with pytest.raises(ParameterError, match=f"Loop: {parameter} must be an integer of at least 0.*got {value!r}"):
        Loop(**{parameter: value})


def test_numbers_may_be_numpys(tmp_path: Path) -> None:
    """Numbers may be NumPy's, and checkpoints record them as Python's."""
    one: Any = np.int8(1)
    two: Any = np.int64(2)
    evaluated = []
    loop = Loop([Checkpoint(tmp_path)], epochs=two, initial_epoch=one, steps_per_epoch=two, trainee=ScriptedTrainee())
    with loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(8), accumulate=two):
                loop.log(loss=np.float32(batch))
                if loop.every(two):
                    evaluated.append(batch)
    assert evaluated == [3, 7]
    assert (loop.run.epochs, loop.run.steps_per_epoch, loop.run.progress.step) == (2, 2, 4)
    assert Checkpoint(tmp_path).newest().record()["progress"] == {"epoch": 1, "batch": 7, "step": 4, "accumulated": 0}


def test_more_patience_continues_a_run_that_stopped(tmp_path: Path) -> None:
    """If the patience of a stopped run is raised, also as a NumPy number, the vote is dropped; otherwise it is kept."""

    def trained(patience: Any) -> int:
        plugins = [EarlyStopping("loss", patience=patience), Checkpoint(tmp_path)]
        with Loop(plugins, epochs=9, trainee=ScriptedTrainee(), resume="auto") as loop:
            for _ in loop.epochs():
                loop.log(loss=1.0)
        return loop.run.progress.epoch

    assert [trained(np.int64(patience)) for patience in (2, 2, 5)] == [2, 2, 5]


class Module:
    """A framework's model, which might be given instead of a trainee."""

    weights: ClassVar[list[float]] = [0.0]

    def state_dict(self) -> dict[str, float]:
        return {}


def test_a_model_is_no_trainee() -> None:
    """An object without any part of a trainee is refused when the loop is made, with an explanation of a trainee."""
    model: Any = Module()
    with pytest.raises(ParameterError) as caught:
        Loop(trainee=model)
    for part in ("Loop: trainee must be a `Trainee`", "KerasTrainee", "docs/writing-a-trainee.md", ".Module", "snapshot"):
        assert part in str(caught.value)


@pytest.mark.parametrize("given", [SimpleNamespace(learning_rate=0.1), SimpleNamespace(picture=bytes), ScriptedTrainee()])
def test_any_part_of_a_trainee_is_enough(given: Any) -> None:
    """A trainee leaves out what it cannot do."""
    assert Loop(trainee=given).run.trainee is given


def test_a_missing_trainee_is_explained(tmp_path: Path) -> None:
    """If a plugin needs a trainee and the loop has no trainee, the error says what to pass."""
    with pytest.raises(CapabilityError) as caught, Loop([Checkpoint(tmp_path)], epochs=1):
        pass
    for part in ("'checkpoint' needs", "was given no trainee", "pass trainee=", "KerasTrainee", "docs/writing-a-trainee.md"):
        assert part in str(caught.value)


def test_a_class_of_trainee_is_refused() -> None:
    """A class instead of an instance of a trainee is an error that shows how to make the instance."""
    with pytest.raises(ParameterError, match=r"trainee must be an instance, ScriptedTrainee\(\.\.\.\)"):
        Loop(trainee=ScriptedTrainee)  # type: ignore[arg-type]  # on purpose


@attrs.define
class Half:
    """A framework's number with low precision: a thousand plus one is a thousand."""

    number: float
    detached: bool = False

    def __add__(self, other: Half) -> Half:
        return Half(min(self.number + other.number, 8.0))

    def __radd__(self, other: float) -> Half:
        return self


class NumPyLike(Half):
    __array_interface__: ClassVar[dict[str, Any]] = {}

    def __float__(self) -> float:
        return self.number


class TorchLike(Half):
    def detach(self) -> TorchLike:
        return TorchLike(self.number, detached=True)

    def float(self) -> float:
        assert self.detached
        return self.number


class JaxLike(Half):
    def astype(self, dtype: str) -> float:
        assert dtype == "float32"
        return self.number


@pytest.mark.parametrize("kind", [NumPyLike, TorchLike, JaxLike])
def test_means_are_not_taken_in_half_precision(kind: type[Half]) -> None:
    """Means of half-precision values are computed in higher precision, and tensors are detached from their graphs."""
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(1000)):
                loop.log(loss=kind(0.5))
    assert loop.run.history["loss"] == [0.5]


# Unusual bodies.


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_of_one_epoch_are_numbered_on(accumulate: int) -> None:
    """Batches of two calls of `batches` in an epoch are numbered continuously, also in `run.progress`."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            seen = [loop.run.progress.batch for _ in range(2) for _ in loop.batches("ab", accumulate=accumulate)]
    assert seen == [0, 1, 2, 3]
    check_events(recording.events)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_evaluation_that_raises_may_be_caught(accumulate: int) -> None:
    """An evaluation whose exception the body catches ends without metrics, before the body's next call."""
    recording = RecordingPlugin()

    def evaluate(loop: Loop) -> None:
        with contextlib.suppress(ZeroDivisionError), loop.evaluation():
            for _ in loop.batches("xy"):
                raise ZeroDivisionError

    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            evaluate(loop)
            for _ in loop.batches("ab", accumulate=accumulate):
                evaluate(loop)
            with contextlib.suppress(ZeroDivisionError):
                for _ in loop.batches("ab", accumulate=accumulate):
                    with loop.evaluation():
                        raise ZeroDivisionError
    check_events(recording.events)
    assert recording.hooks.count("on_evaluate_end") == 4
    assert loop.run.progress.step == 2 // accumulate + 1


def test_batches_within_a_batch_are_refused() -> None:
    """Calling `batches` within an open batch is an error with advice."""
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            with pytest.raises(HookcoreError, match=r"pass data that yield pairs\. zip\(a, b\) does, but"):
                list(zip(loop.batches("ab"), loop.batches("cd"), strict=True))


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_data_that_raise_lose_no_batch(accumulate: int) -> None:
    """If the data raise an exception, every trained batch has ended and every update is a step."""
    recording = RecordingPlugin()

    def data() -> Iterator[int]:
        yield from range(4)
        raise OSError

    with pytest.raises(OSError), Loop([recording], epochs=1) as loop:  # noqa: PT011, PT012 - the whole loop
        for _ in loop.epochs():
            for _ in loop.batches(data(), accumulate=accumulate):
                pass
    assert recording.hooks.count("on_batch_end") == 4
    assert loop.run.progress.step == 4 // accumulate


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end"])
def test_an_actors_error_ends_the_run_even_if_the_body_catches_it(hook: str, accumulate: int) -> None:
    """After an actor's error that the body catches, the run has failed, and every later call is an error."""

    def boom() -> None:
        raise ZeroDivisionError

    plugin = SimpleNamespace(name="boom", **{hook: hookimpl(boom)})
    with pytest.raises(HookcoreError, match="An error has ended the run"), Loop([plugin], epochs=2) as loop:  # noqa: PT012
        for _ in loop.epochs():
            with contextlib.suppress(ZeroDivisionError):
                for _ in loop.batches("ab", accumulate=accumulate):
                    pass
    assert loop.run.outcome is Outcome.FAILED


def test_a_vote_before_the_cut_is_no_reason_to_miss_batches(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A resumed epoch skips its trained batches also after a vote, without a warning of missing batches."""

    def train(*plugins: object, resume: Any = False) -> Run:
        saving = Checkpoint(tmp_path, every_n_steps=1, every_n_epochs=None, keep_last=None)
        with Loop([*plugins, saving], epochs=1, trainee=ScriptedTrainee(), resume=resume) as loop:
            for _ in loop.epochs():
                for _ in loop.batches("abcdef", accumulate=2):
                    pass
        return loop.run

    train(StopAt("on_batch_end", 3))
    run = train(StopAt("on_batch_end", 3), resume=store.available(tmp_path)[-1].path)
    assert "when it was interrupted" not in caplog.text
    assert run.outcome is Outcome.STOPPED
