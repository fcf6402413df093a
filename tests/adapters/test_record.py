"""A framework whose own checkpoint has the weights resumes exactly from the record."""

from __future__ import annotations

import copy
import json
import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from hookcore import CapabilityError, CheckpointError, Engine, HookcoreError, Outcome, Run, hookimpl, state
from hookcore.driver import Driver
from hookcore.testing import RecordingPlugin, ScriptedTrainee, metric_series
from hookcore_plugins import CSVLog, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hypothesis.strategies import DrawFn

    from hookcore import Position

counted: Counter[str] = Counter()


@attrs.frozen
class Script:
    """A run: its number of batches, how it is trained, the validation results, and the plugins' parameters."""

    batches: int
    series: list[float | None]
    accumulate: int
    evaluates_batches: bool
    patience: int
    plateau: int
    schedule: bool
    votes_after: int | None

    def plugins(self) -> list[object]:
        """Return new plugin objects, as in a new process."""
        options: dict[str, Any] = {"mode": "max", "missing": "skip"}
        schedule = [LearningRateSchedule(lambda epoch, rate: rate * (0.9 if epoch % 2 else 1.0))] if self.schedule else []
        return [
            RecordingPlugin(),
            *schedule,
            EarlyStopping("val_score", patience=self.patience, **options),
            ReduceLROnPlateau("val_score", patience=self.plateau, factor=0.5, cooldown=1, **options),
            Votes(self.votes_after),
        ]


@st.composite
def scripts(draw: DrawFn) -> Script:
    return Script(
        batches=draw(st.integers(1, 4)),
        series=draw(metric_series(max_size=4, nan=True, missing=True)),
        accumulate=draw(st.sampled_from([1, 1, 2, 3])),
        evaluates_batches=draw(st.booleans()),
        patience=draw(st.integers(0, 2)),
        plateau=draw(st.integers(0, 2)),
        schedule=draw(st.booleans()),
        votes_after=draw(st.none() | st.integers(1, 9)),
    )


@attrs.define(eq=False)
class Votes:
    """Votes to stop after some batches, counted after all other plugins."""

    after: int | None
    batches: int = attrs.field(init=False, default=0)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        if self.batches == self.after:
            run.stop("enough batches")

    def state_dict(self) -> dict[str, int]:
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.batches = state["batches"]


@attrs.define(eq=False)
class Weights(ScriptedTrainee):
    """Weights that the framework saves itself: a snapshot by a plugin or hookcore is an error."""

    def snapshot(self, *, optimizer: bool = True) -> Any:
        del optimizer
        raise AssertionError("the framework takes the snapshots here")

    def restore(self, snapshot: Any) -> None:
        raise AssertionError(f"the framework has restored it, not {snapshot!r}")


@attrs.define(eq=False)
class Framework:
    """A framework with its own checkpoints, which it saves after each event if the driver has a record."""

    script: Script
    trainee: Weights = attrs.field(factory=Weights)
    saved: list[tuple[str, Weights, float]] = attrs.field(factory=list)
    refused: int = 0
    seen: float = 0.0
    """The framework's state beside the weights: the running sum of the losses."""
    first: tuple[int, int] = (0, 0)
    stopping: bool = False

    name = "framework"
    ends_of_data = ()

    def stop(self) -> None:
        self.stopping = True

    def state_dict(self) -> Mapping[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        self.seen = state.get("seen", 0.0)
        self.first = position.epoch, position.batch

    def train(self, driver: Driver, record: str | None = None) -> Run:
        run = Run.of(self.trainee, epochs=len(self.script.series))
        driver.begin(run, record=record)
        self.save(driver)
        first, skipped = self.first
        for epoch in range(first, len(self.script.series)):
            if self.stopping and not skipped:
                break
            self.tell(driver, driver.epoch_begin)
            for batch in range(skipped, self.script.batches):
                if self.stopping:
                    break
                self.batch(driver, batch + 1)
            skipped = 0
            score = self.script.series[epoch]
            self.tell(driver, driver.epoch_end, {"loss": self.seen}, hold=1)
            self.evaluate(driver, {} if score is None else {"val_score": score})
        driver.end()
        return run

    def batch(self, driver: Driver, number: int) -> None:
        self.tell(driver, driver.batch_begin)
        updates = int(number % self.script.accumulate == 0 or number == self.script.batches)
        self.trainee.weights[0] += self.trainee.learning_rate * number
        self.seen += number
        if self.script.evaluates_batches:
            self.tell(driver, driver.batch_held, {"loss": self.trainee.weights[0]}, updates=updates)
            self.evaluate(driver, {f"score_{number}": self.seen})
            self.tell(driver, driver.log, {"latest": self.seen})
            self.tell(driver, driver.settled)
        else:
            self.tell(driver, driver.batch_end, {"loss": self.trainee.weights[0]}, updates=updates)

    def evaluate(self, driver: Driver, named: Mapping[str, float]) -> None:
        self.tell(driver, driver.evaluate_begin)
        self.tell(driver, driver.evaluate_batch_begin)
        self.tell(driver, driver.evaluate_batch_end, {"loss": 1.0})
        self.tell(driver, driver.evaluate_end, {"loss": 1.0}, named=named)

    def tell(self, driver: Driver, fact: Callable[..., None], *arguments: Any, **options: Any) -> None:
        fact(*arguments, **options)
        self.save(driver)

    def save(self, driver: Driver) -> None:
        try:
            record = driver.record()
        except HookcoreError:
            self.refused += 1
        else:
            assert json.loads(record)
            self.saved.append((record, copy.deepcopy(self.trainee), self.seen))


def outcome(run: Run, framework: Framework) -> str:
    """Return all results of a run, in a form in which NaN equals NaN."""
    return repr(
        {
            "outcome": run.outcome,
            "progress": run.progress,
            "history": run.history.state_dict(),
            "decisions": run.decisions,
            "stop reasons": run.stop_reasons,
            "weights": framework.trainee.weights,
            "rate": run.learning_rate,
            "seen": framework.seen,
        }
    )


def events(engine: Engine) -> list[str]:
    """Return the events between the beginning and the end of training."""
    return [repr(event) for event in engine["recording"].events if event[0] not in {"on_train_begin", "on_train_end"}]


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(script=scripts())
def test_a_run_resumed_from_any_record_ends_as_an_uninterrupted_run(script: Script) -> None:
    """Resumed from any record, with the framework's weights, a run has the same events and decisions."""
    whole, engine = Framework(script), Engine(script.plugins(), autoload=False)
    run = whole.train(Driver(engine, host=whole))
    expected, heard = outcome(run, whole), events(engine)
    lengths = set()
    for record, trainee, seen in whole.saved:
        again, resumed = Framework(script, trainee=trainee), Engine(script.plugins(), autoload=False)
        second = again.train(Driver(resumed, host=again), record)
        assert outcome(second, again) == expected
        rest = events(resumed)
        assert heard[len(heard) - len(rest) :] == rest
        assert second.resumed_from is not None
        assert second.resumed_from.step == state.loads(record)["progress"]["step"]
        assert seen <= again.seen
        lengths.add(len(rest))
    assert len(heard) in lengths
    assert 0 in lengths
    counted["records"] += len(whole.saved)
    counted["within an epoch"] += sum(state.loads(record)["position"]["batch"] > 0 for record, _, _ in whole.saved)
    counted["refused"] += whole.refused


def test_records_were_taken_everywhere() -> None:
    """The test above resumed from many records, also within epochs, and many moments were refused."""
    if counted:  # it ran in this process
        assert min(counted["records"], counted["within an epoch"], counted["refused"]) > 300, counted


def held_epoch(driver: Driver) -> None:
    driver.batch_end()
    driver.epoch_end(hold=1)


MOMENTS: dict[str, tuple[Callable[[Driver], object], str]] = {
    "an open batch": (lambda driver: driver.batch_begin(), "the end of batch 1 in epoch 1"),
    "a held batch": (lambda driver: driver.batch_held(), "batch"),
    "an accumulation": (lambda driver: driver.batch_end(updates=0), "the next update in epoch 1"),
    "an evaluation": (lambda driver: [fact() for fact in (driver.batch_end, driver.evaluate_begin)], "a batch of the evaluation"),
    "a prediction": (lambda driver: [fact() for fact in (driver.batch_end, driver.predict_begin)], "epoch 1"),
    "a held epoch": (held_epoch, "epoch 1"),
    "an epoch without a batch yet": (lambda driver: driver.epoch_begin(), "the first batch of epoch 1, or its end"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_that_is_not_settled_has_no_record(moment: str) -> None:
    """Asking for a record at an unsettled moment is an error that names what to wait for, and the run continues."""
    tell, waits_for = MOMENTS[moment]
    driver = Driver(Engine(autoload=False))
    driver.begin(Run.of(epochs=1))
    driver.record()
    tell(driver)
    with pytest.raises(
        HookcoreError, match=rf"loop asked for a record within a moment that is not settled.* after .*{waits_for}"
    ):
        driver.record()
    driver.epoch_end()
    driver.evaluate_end()
    assert state.loads(driver.record())["position"] == {"epoch": 1, "batch": 0, "begun": False}


def test_a_batch_that_is_held_has_the_record_of_one_that_is_settled() -> None:
    """A held batch has the record of a settled one, except within an accumulation or after an evaluation."""
    driver = Driver(Engine(autoload=False))
    driver.begin(Run.of(epochs=1))
    driver.batch_held(updates=0)
    with pytest.raises(HookcoreError, match="within a moment that is not settled"):
        driver.record(held=True)
    driver.batch_held()
    held = driver.record(held=True)
    driver.evaluate_end({"loss": 1.0}, named={"val_loss": 1.0})
    with pytest.raises(HookcoreError, match="within a moment that is not settled"):
        driver.record(held=True)
    driver.settled()
    assert state.loads(held)["position"] == state.loads(driver.record())["position"] == {"epoch": 0, "batch": 2, "begun": True}
    assert state.loads(held)["history"]["epochs"] == []


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("shortest", [False, True], ids=["facts", "shortest way"])
def test_a_hook_gets_no_record(hook: str, *, shortest: bool) -> None:
    """A hook cannot take a record, because later plugins have not had the event."""
    errors: list[str] = []

    def ask() -> None:
        with pytest.raises(HookcoreError) as caught:
            driver.record()
        errors.append(str(caught.value))

    driver = Driver(Engine([SimpleNamespace(name="asking", **{hook: hookimpl(ask)})], autoload=False))
    driver.begin(Run.of(epochs=1))
    driver.epoch_begin()
    if shortest:
        begin, end = driver.batches()
        begin(0)
        end(0, None)
    else:
        driver.batch_end()
    driver.epoch_end()
    driver.end()
    if hook != "on_train_begin":  # the run is not the driver's yet
        assert errors[0].startswith("loop asked for a record within a moment that is not settled, so plugins and weights would")
        assert errors[0].endswith("Ask again after the hook that is being called.")
    assert len(errors) == 1


def test_there_is_no_record_outside_of_a_run() -> None:
    """There is no record before a run, after it, or in an evaluation outside of one."""
    driver = Driver(Engine(autoload=False))
    prepare: list[Callable[[], None]] = [lambda: None, lambda: driver.outside(ScriptedTrainee())]
    for prepared in prepare:
        prepared()
        with pytest.raises(HookcoreError, match="loop told of record outside of a run"):
            driver.record()


def test_a_record_has_no_snapshots_and_the_log_names_who_held_one(caplog: pytest.LogCaptureFixture) -> None:
    """The log names a plugin whose snapshot a record lacks, once, when it is taken and restored; the plugin decides as before."""

    def plugins() -> Engine:
        return Engine([EarlyStopping("loss", patience=2, restore_best_weights=True)], autoload=False)

    def epochs(driver: Driver, *losses: float) -> None:
        for loss in losses:
            driver.batch_end()
            driver.epoch_end({"loss": loss})

    driver = Driver(plugins())
    driver.begin(Run.of(ScriptedTrainee()))
    epochs(driver, 1.0, 2.0)
    first, second = driver.record(), driver.record()
    assert first == second
    told = "plugin 'early_stopping' holds a snapshot, 'best', which a record alone does not have: it is lost"
    assert caplog.messages == [f"record: {told}"]
    caplog.clear()
    trainee = ScriptedTrainee(weights=[5.0])
    resumed = Driver(plugins())
    resumed.begin(Run.of(trainee), record=first)
    assert f"resumed: {told}" in caplog.messages
    epochs(resumed, 3.0)
    assert resumed.stopping
    resumed.end()
    assert trainee.weights == [5.0]


def test_a_trainee_that_cannot_be_saved_has_a_record() -> None:
    """A run whose trainee cannot be saved, or without a trainee, is recorded and resumed."""
    driver, resumed = Driver(Engine(autoload=False)), Driver(Engine(autoload=False), resume="auto")
    driver.begin(Run.of())
    driver.batch_end()
    resumed.begin(Run.of(), record=driver.record())
    assert (resumed.position.batch, resumed.epoch) == (1, 0)
    with pytest.raises(CapabilityError):
        resumed.begin(Run.of())


def test_plugins_know_what_is_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`run.resumed_from` has the step and the framework's path, so logs are continued."""
    caplog.set_level(logging.INFO, "hookcore")
    place = tmp_path / "log.csv"

    def driver() -> Driver:
        return Driver(Engine([CSVLog(place)], autoload=False))

    def epochs(driver: Driver, number: int) -> None:
        for _ in range(number):
            driver.batch_end()
            driver.epoch_end({"loss": 1.0})

    first = driver()
    first.begin(Run.of())
    epochs(first, 2)
    record = first.record()
    epochs(first, 1)
    first.end()
    second = driver()
    second.begin(Run.of(), record=record, path="runs/epoch=1.ckpt")
    run = second.run
    assert run is not None
    assert run.resumed_from is not None
    assert (run.resumed_from.path, run.resumed_from.epoch, run.resumed_from.step) == (Path("runs/epoch=1.ckpt"), 1, 2)
    assert "resumed from runs/epoch=1.ckpt, at epoch 3, batch 1" in caplog.messages
    epochs(second, 1)
    second.end()
    assert run.outcome is Outcome.COMPLETED
    assert [line.split(",")[0] for line in place.read_text().splitlines()] == ["epoch", "0", "1", "2"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record[:-1],
        lambda record: record.replace('"step": 1', '"step": "one"'),
        lambda record: record.replace('"format": 1', '"format": 99'),
        lambda record: json.dumps({**json.loads(record), "plugins": 3}),
        lambda _: "[]",
    ],
    ids=["cut", "step", "format", "plugins", "list"],
)
def test_a_record_that_cannot_be_read_is_refused(spoil: Callable[[str], str]) -> None:
    """An unreadable record is refused before anything is restored or any plugin is called, and the next run begins."""
    driver, recording = Driver(Engine(autoload=False)), RecordingPlugin()
    driver.begin(Run.of())
    driver.batch_end()
    resumed = Driver(Engine([recording], autoload=False))
    with pytest.raises(CheckpointError, match="The run cannot be resumed"):
        resumed.begin(Run.of(), record=spoil(driver.record()))
    assert recording.events == []
    resumed.begin(Run.of(), record=driver.record())
    assert recording.hooks == ["on_train_begin"]
