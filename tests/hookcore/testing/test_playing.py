"""Sequences of events, played to plugins."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hookcore import Engine, Outcome, Run, SavedCheckpoint, hookimpl
from hookcore.testing import Event, RecordingPlugin, ScriptedTrainee, check_events, event_sequences, play
from hookcore.testing.events import is_legal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.testing.playing import Stop


def epoch(number: int, batches: int = 2, loss: float = 1.0) -> list[Event]:
    """Return the events of an epoch, one batch after the other."""
    within = [
        event
        for batch in range(batches)
        for event in (Event("on_batch_begin", (batch,)), Event("on_batch_end", (batch, {"loss": loss})))
    ]
    end = [Event("on_epoch_end", (number, {"loss": loss})), Event("on_metrics", ({"loss": loss},))]
    return [Event("on_epoch_begin", (number,)), *within, *end]


def observed(batch: int, loss: float) -> list[Event]:
    """Return the events of a batch and an evaluation, which is an observation by steps."""
    return [
        Event("on_batch_begin", (batch,)),
        Event("on_batch_end", (batch, {})),
        Event("on_evaluate_begin"),
        Event("on_evaluate_end", ({},)),
        Event("on_metrics", ({"loss": loss},)),
    ]


def run(*epochs: list[Event]) -> list[Event]:
    return [Event("on_train_begin"), *(event for one in epochs for event in one), Event("on_train_end")]


@attrs.define(eq=False)
class Counts:
    """Counts batches, records how each run began, and votes to stop after `votes_after` batches."""

    votes_after: int = 0
    batches: int = attrs.field(default=0, init=False)
    begun: list[tuple[int, SavedCheckpoint | None, float]] = attrs.field(factory=list, init=False)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        self.begun.append((self.batches, run.resumed_from, run.learning_rate))

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        if self.batches == self.votes_after:
            run.stop("enough")
        run.learning_rate /= 2

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches = state["batches"]


def test_the_events_reach_the_plugins_as_they_are() -> None:
    """Plugins get each event with its arguments, and the returned run has its progress, history and outcome."""
    events = [
        *run(epoch(0), epoch(1, loss=0.5)),
        Event("on_predict_begin"),
        Event("on_predict_batch_begin", (0,)),
        Event("on_predict_batch_end", (0,)),
        Event("on_predict_end"),
    ]
    recording = RecordingPlugin()
    (played,) = play(events, [recording])
    outcome = {"on_train_end": (Outcome.COMPLETED,)}
    assert recording.events == [(event.hook, *event.arguments, *outcome.get(event.hook, ())) for event in events]
    assert played.outcome is Outcome.COMPLETED
    assert (played.progress.epoch, played.progress.step, played.history["loss"]) == (1, 4, [1.0, 0.5])


def test_every_argument_is_kept() -> None:
    """Numbers are kept if epochs do not begin at 0, if batches are done several at a time or nested, and if one has no end."""
    evaluation = [
        Event("on_evaluate_begin"),
        Event("on_evaluate_batch_begin", (0,)),
        Event("on_evaluate_batch_end", (3, {"loss": 1.0})),
        Event("on_evaluate_batch_begin", (4,)),
        Event("on_evaluate_end", ({"loss": 2.0},)),
    ]
    prediction = [
        Event("on_predict_begin"),
        Event("on_predict_batch_begin", (0,)),
        Event("on_predict_batch_end", (1,)),
        Event("on_predict_batch_begin", (2,)),
        Event("on_predict_end"),
    ]
    within = [
        Event("on_epoch_begin", (5,)),
        Event("on_batch_begin", (0,)),
        Event("on_batch_end", (2, {"loss": 3.0})),
        Event("on_batch_begin", (3,)),
        *evaluation,
        Event("on_batch_end", (4, {"loss": 4.0})),
        *prediction,
        Event("on_batch_begin", (5,)),
        Event("on_batch_end", (6, {"loss": 4.0})),
        *evaluation,
        *prediction,
        *evaluation,
        Event("on_metrics", ({"val_loss": 6.0},)),
        Event("on_batch_begin", (7,)),
        Event("on_epoch_end", (5, {"val_loss": 5.0})),
        Event("on_metrics", ({"loss": 7.0},)),
    ]
    events = [*evaluation, *prediction, *run(evaluation, within, prediction), *evaluation]
    recording = RecordingPlugin()
    (played,) = play(events, [recording])
    assert recording.events == [
        (event.hook, *event.arguments, *([Outcome.COMPLETED] if event.hook == "on_train_end" else [])) for event in events
    ]
    assert (played.progress.epoch, played.progress.step) == (5, 7)
    assert (played.history.by_steps, played.history["loss"][1:], played.history["val_loss"][:1]) == ([True, False], [7.0], [6.0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@given(event_sequences())
def test_without_votes_and_resumed_runs_all_is_played_as_it_is(events: list[Event]) -> None:
    """Every event of a legal sequence without votes and resumed runs reaches the plugins, with its arguments."""
    events = [event for event in events if event.hook not in {"stop", "resume"}]
    assume(is_legal(events))
    recording = RecordingPlugin()
    play(events, [recording])
    expected = [(event.hook, *event.arguments) for event in events]
    assert repr([event[:1] if event[0] == "on_train_end" else event for event in recording.events]) == repr(expected)


def test_observations_are_played_where_they_are() -> None:
    """An evaluation is an observation only if `on_metrics` follows; so is the end of an epoch that has had an observation."""
    evaluated = [Event("on_evaluate_begin"), Event("on_evaluate_end", ({},))]
    within = [*observed(0, 3.0), *evaluated, *epoch(0, 2)[3:5], *evaluated, *observed(2, 2.0)]
    events = run([Event("on_epoch_begin", (0,)), *within, Event("on_epoch_end", (0, {"loss": 2.5}))])
    recording = RecordingPlugin()
    (played,) = play(events, [recording])
    assert recording.hooks == [event.hook for event in events]
    assert (played.history["loss"], played.history.steps) == ([3.0, 2.0], [1, 3])


def test_what_lies_between_an_epochs_end_and_its_observation_comes_later() -> None:
    """A checkpoint or an exception between an epoch's end and its observation comes after both."""
    *before, end, fresh = epoch(0)
    checkpoint = Event("on_checkpoint", (SavedCheckpoint(Path("step-00000002"), 0, 2),))
    recording = RecordingPlugin()
    play(run([*before, end, checkpoint, fresh]), [recording])
    assert recording.hooks[-4:] == ["on_epoch_end", "on_metrics", "on_checkpoint", "on_train_end"]
    play(run([*before, end, Event("on_exception", (ValueError(),))]), [recording])
    assert recording.hooks[-4:] == ["on_epoch_end", "on_metrics", "on_exception", "on_train_end"]


def test_an_evaluation_outside_of_a_run_leaves_plugins_and_run_alone() -> None:
    """An evaluation outside a run changes neither the plugins' state nor the engine's latest run."""
    counts = Counts()
    engine = Engine([counts], autoload=False)
    (played,) = play([*run(epoch(0)), Event("on_evaluate_begin"), Event("on_evaluate_end", ({},))], engine)
    assert (engine.run, counts.batches) == (played, 2)


def test_several_batches_at_a_time_are_as_many_steps() -> None:
    """The numbers of a batch's begin and end tell how many steps were done."""
    within = [Event("on_epoch_begin", (0,)), Event("on_batch_begin", (0,)), Event("on_batch_end", (3, {}))]  # and is left
    (played,) = play(run(within))
    assert played.progress.step == 4


@pytest.mark.parametrize(
    ("stop", "seen"),
    [
        ("batch", ["on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_metrics"]),
        ("epoch", ["on_epoch_begin", *["on_batch_begin", "on_batch_end"] * 3, "on_epoch_end", "on_metrics"]),
    ],
)
def test_a_vote_is_obeyed(stop: Stop, seen: list[str]) -> None:
    """After a vote, no batch begins or the epoch is finished first; either way the epoch ends, and no other begins."""
    recording = RecordingPlugin()
    (played,) = play(run(epoch(0, 3), epoch(1), epoch(2)), [Counts(votes_after=1), recording], stop=stop)
    assert recording.hooks == ["on_train_begin", *seen, "on_train_end"]
    assert played.outcome is Outcome.STOPPED


def test_an_epoch_without_the_batches_that_were_observed_is_observed_at_its_end() -> None:
    """If a vote prevents all observations by steps of an epoch, the metrics of its end are an observation."""
    events = run([*epoch(0)[:3], *observed(1, 3.0), Event("on_epoch_end", (0, {"loss": 2.0}))])
    recording = RecordingPlugin()
    (played,) = play(events, [Counts(votes_after=1), recording])
    assert recording.hooks[-4:] == ["on_batch_end", "on_epoch_end", "on_metrics", "on_train_end"]
    assert recording.events[-3:-1] == [("on_epoch_end", 0, {"loss": 2.0}), ("on_metrics", {"loss": 2.0})]
    assert played.history.by_steps == [False]


def test_another_plugins_vote_and_checkpoint() -> None:
    """`stop` is a vote and `on_checkpoint` a checkpoint of a plugin called "neighbour"."""
    saved = SavedCheckpoint(Path("step-00000000"), 0, 0)
    recording = RecordingPlugin()
    (played,) = play(run([Event("on_checkpoint", (saved,)), Event("stop", ("enough",))]), [recording])
    assert recording.events[1] == ("on_checkpoint", saved)
    assert [(reason.plugin, reason.message) for reason in played.stop_reasons] == [("neighbour", "enough")]
    assert [(decision.plugin, decision.kind) for decision in played.decisions] == [("neighbour", "stop")]


def test_a_run_resumes_from_the_end_of_an_epoch() -> None:
    """A resumed run has the plugin state, progress, history and trainee of that epoch's end, and `resumed_from` names it."""
    counts, trainee = Counts(), ScriptedTrainee(learning_rate=1.0)
    events = [*run(epoch(0), epoch(1), epoch(2)), Event("resume", (0,)), *run(epoch(1)), *run()]
    first, second, third = play(events, [counts], trainee=trainee)
    assert counts.begun == [
        (0, None, 1.0),
        (2, SavedCheckpoint(Path("step-00000002"), 0, 2), 0.25),
        (0, None, 0.0625),
    ]
    assert (first.progress.step, second.progress.step, third.progress.step) == (6, 4, 0)
    assert second.history.epochs == [0, 1]


def test_a_run_resumes_after_the_epochs_observation() -> None:
    """The state of a resumed plugin, and the history of its run, include the observation at the epoch's end."""

    @attrs.define(eq=False)
    class Observes(Counts):
        @hookimpl
        def on_metrics(self) -> None:
            self.batches += 10

    observes = Observes()
    end = Event("on_epoch_end", (0, {}))
    events = [*run([Event("on_epoch_begin", (0,)), *observed(0, 2.0), end], epoch(1)), Event("resume", (1,)), *run(epoch(2))]
    _, resumed = play(events, [observes])
    assert [batches for batches, _, _ in observes.begun] == [0, 23]
    assert (resumed.history.epochs, resumed.history.by_steps) == ([0, 1, 2], [True, False, False])


def test_no_run_resumes_from_an_epoch_that_was_not_reached() -> None:
    """A run is left out if a vote prevented the epoch that it resumes from, and so is a run that resumes from that run."""
    events = [*run(epoch(0), epoch(1)), Event("resume", (1,)), *run(epoch(2)), Event("resume", (2,)), *run(), *run(epoch(0))]
    assert [played.history.epochs for played in play(events, [Counts(votes_after=1)])] == [[0], [0]]


def test_a_run_resumes_from_the_previous_run() -> None:
    """A run does not resume from an epoch that an earlier run has reached and the previous run has not."""

    class StopsTheSecond:
        runs = 0

        @hookimpl
        def on_train_begin(self) -> None:
            self.runs += 1

        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            if self.runs == 2:
                run.stop("enough")

    events = [*run(epoch(0), epoch(1)), *run(epoch(0), epoch(1)), Event("resume", (1,)), *run(epoch(2))]
    assert [played.history.epochs for played in play(events, [StopsTheSecond()])] == [[0, 1], [0]]


@pytest.mark.parametrize(("error", "outcome"), [(ValueError(), Outcome.FAILED), (KeyboardInterrupt(), Outcome.INTERRUPTED)])
def test_an_exception_of_the_sequence_ends_its_run(error: BaseException, outcome: Outcome) -> None:
    """Plugins get the exception and the end of training, the outcome fits, and the next run follows."""
    recording = RecordingPlugin()
    events = [Event("on_train_begin"), Event("on_epoch_begin", (0,)), Event("on_exception", (error,)), Event("on_train_end")]
    assert [played.outcome for played in play([*events, *run()], [recording])] == [outcome, Outcome.COMPLETED]
    assert recording.events[2:4] == [("on_exception", error), ("on_train_end", outcome)]


class Fails:
    @hookimpl
    def on_batch_end(self) -> None:
        raise RuntimeError("broken")

    @hookimpl
    def on_evaluate_end(self) -> None:
        self.on_batch_end()


def test_a_plugins_exception_ends_its_run_and_is_raised() -> None:
    """The other plugins get the exception and the end of training, and the caller gets the exception."""
    recording = RecordingPlugin()
    with pytest.raises(RuntimeError, match="broken"):
        play(run(epoch(0)), [Fails(), recording])
    assert recording.hooks[-2:] == ["on_exception", "on_train_end"]
    with pytest.raises(RuntimeError, match="broken"):
        play([Event("on_evaluate_begin"), Event("on_evaluate_end", ({},))], [Fails(), recording])
    assert recording.hooks[-2:] == ["on_evaluate_begin", "on_evaluate_end"]


def test_illegal_events_are_refused() -> None:
    """No event of an illegal sequence is played."""
    recording = RecordingPlugin()
    with pytest.raises(AssertionError, match="epoch 1 is next"):
        play(run(epoch(0), epoch(2)), [recording])
    assert recording.events == []


@given(event_sequences(), st.integers(0, 5), st.sampled_from(["batch", "epoch"]))
def test_what_is_played_is_legal(events: list[Event], votes_after: int, stop: Stop) -> None:
    """Whenever a plugin votes, the plugins get a legal sequence."""
    recording = RecordingPlugin()
    engine = Engine([Counts(votes_after), recording], autoload=False)
    runs = play(events, engine, stop=stop)
    check_events(recording.events)
    assert recording.hooks.count("on_train_begin") == recording.hooks.count("on_train_end") == len(runs)
