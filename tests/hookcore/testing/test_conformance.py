"""The contract of a plugin: what keeps it passes, and a breach of each clause is caught under the clause's name."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from hookcore import HookcoreError, MetricError, ParameterError, Run, hookimpl
from hookcore.registry import discovery
from hookcore.testing import Clause, RecordingPlugin, check_plugin, plugin_machine
from hookcore.testing.conformance import SETTINGS
from hookcore.trainee import Capability
from hookcore_plugins import (
    Activations,
    Checkpoint,
    Console,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    NaNGuard,
    Preemption,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
    TimeLimit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore.trainee import Snapshot

    Factory = Callable[[], object]

ROOT = Path(__file__).parents[3]

# As many examples, and the same or new ones each time, as the profile says.
PROFILE = hypothesis.settings()
THOROUGH = hypothesis.settings(SETTINGS, max_examples=PROFILE.max_examples // 10, derandomize=PROFILE.derandomize)
# To find a breach, not to explain it.
QUICK = hypothesis.settings(SETTINGS, phases=[hypothesis.Phase.generate])
SHORT = hypothesis.settings(QUICK, max_examples=10)


@attrs.define
class Clock:
    """A clock that all instances read, and that goes on by a second an event."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 1


# The shipped plugins.


def conforming(tmp_path: Path) -> dict[str, list[tuple[Factory, dict[str, Any]]]]:
    """Ways to make each shipped plugin, by its name in the catalogue, with the options of `check_plugin`."""
    numbers = itertools.count()
    clock = Clock()

    def directory() -> Path:
        return tmp_path / str(next(numbers))

    return {
        # The trainee of these runs has no views: that it says so, and the state, are what is seen here.
        "activations": [(lambda: Activations(directory()), {"raises": (HookcoreError,)})],
        "checkpoint": [
            (lambda: Checkpoint(directory(), every_n_steps=3, keep_last=1), {}),
            (lambda: Checkpoint(directory(), save_best_only=True), {}),
        ],
        "console": [(lambda: Console("lines", stream=io.StringIO(), clock=clock), {"tick": clock.tick})],
        "csv_log": [(lambda: CSVLog(directory() / "log.csv"), {})],
        "early_stopping": [
            (lambda: EarlyStopping(patience=2), {}),
            (lambda: EarlyStopping(patience=2, min_delta=0.5, baseline=1.0, start_from_epoch=1), {"min_delta": 0.5}),
            (lambda: EarlyStopping("loss", restore_best_weights=True), {}),
        ],
        "json_log": [(lambda: JSONLog(directory() / "log.jsonl", clock=clock), {"tick": clock.tick})],
        "learning_rate_schedule": [
            (lambda: LearningRateSchedule(lambda epoch: 0.1 / (epoch + 1)), {}),
            (lambda: LearningRateSchedule(lambda _, rate: rate / 2), {}),
        ],
        "nan_guard": [
            (lambda: NaNGuard(every_n_steps=2), {}),
            (lambda: NaNGuard(action="raise"), {"raises": (MetricError,)}),
        ],
        "preemption": [(lambda: Preemption(clock=clock), {"tick": clock.tick})],
        "reduce_lr_on_plateau": [(lambda: ReduceLROnPlateau(patience=2, cooldown=2), {"min_delta": 1e-4})],
        "report": [
            (lambda: Report(directory(), summary=False, clock=clock, now=clock), {"tick": clock.tick}),
            (lambda: Report(directory(), stream=io.StringIO(), graph="png", interval=0), {}),
        ],
        "tensorboard": [
            (lambda: TensorBoard(directory()), {}),
            (lambda: TensorBoard(directory(), update_freq=2, steps_per_second=True, clock=clock), {"tick": clock.tick}),
        ],
        "time_limit": [(lambda: TimeLimit(seconds=20, clock=clock), {"tick": clock.tick})],
    }


SHIPPED = [
    entry.name
    for entry in discovery.entry_points(discovery.CATALOGUE)
    if entry.dist is not None and entry.dist.name == "hookcore"
]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_plugin_keeps_the_contract(tmp_path: Path, name: str) -> None:
    """Each plugin of this distribution passes its check, with several parameters where they matter."""
    # What waits for the disk costs ten times as much.
    examples = THOROUGH.max_examples // (5 if name in {"checkpoint", "report", "tensorboard"} else 1)
    for factory, options in conforming(tmp_path)[name]:
        check_plugin(factory, settings=hypothesis.settings(THOROUGH, max_examples=examples), **options)


# A breach of each clause. Every mutant differs from the plugin that keeps the contract in one thing.


@attrs.define(eq=False)
class Sound:
    """Halves the learning rate at each plateau of the loss, and stops at the third."""

    needs: ClassVar[tuple[Capability, ...]] = ("learning_rate",)

    patience: int = 1
    rates: list[float] = attrs.field(factory=list)
    best: float | None = attrs.field(default=None, init=False)
    waited: int = attrs.field(default=0, init=False)
    cuts: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        value = metrics["loss"]
        if self.best is None or value < self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.waited = 0
            self.cuts += 1
            run.set_learning_rate(run.learning_rate / 2, f"waited {self.patience}")
            if self.cuts > 2:
                run.stop(f"{self.cuts} plateaus", metric="loss", value=value, best=self.best)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "cuts": self.cuts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited, self.cuts = state["best"], state["waited"], state["cuts"]


MUTANTS: list[tuple[Clause, Factory]] = []


def breaks(clause: Clause) -> Callable[[type], type]:
    """Lists a mutant of `Sound`, or a plugin of its own, that breaks `clause`."""

    def listed(mutant: type) -> type:
        made = attrs.define(eq=False)(mutant)
        MUTANTS.append((clause, made))
        return made

    return listed


@breaks(Clause.REGISTRATION)
class Misspelt(Sound):
    @hookimpl
    def on_epoch_ende(self) -> None:
        """A hook that there is not."""


@breaks(Clause.REGISTRATION)
class Spectator(Sound):
    role: ClassVar[str] = "spectator"


@breaks(Clause.REGISTRATION)
class NeedsText(Sound):
    needs: ClassVar[Any] = "learning_rate"


@breaks(Clause.REGISTRATION)
class NeedsUnknown(Sound):
    needs: ClassVar[Any] = ("learning_rates",)


@breaks(Clause.REGISTRATION)
class SavesOnly:
    @hookimpl
    def on_train_end(self) -> None:
        """Something to register."""

    def state_dict(self) -> dict[str, Any]:
        return {}


ONE = Sound()
MUTANTS.append((Clause.REGISTRATION, lambda: ONE))


@breaks(Clause.NO_EXCEPTION)
class NoInfinity(Sound):
    @hookimpl
    def on_batch_end(self, metrics: Mapping[str, float]) -> None:
        int(metrics["loss"])


@breaks(Clause.NO_EXCEPTION)
class SilentlyFailing(Sound):
    role: ClassVar[str] = "observer"

    @hookimpl
    def on_evaluate_batch_end(self) -> None:
        raise ConnectionError("nobody would hear of this")


@breaks(Clause.NO_EXCEPTION)
class FailsInFailure(Sound):
    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            raise TypeError


@breaks(Clause.NO_EXCEPTION)
class WantsAnEpoch(Sound):
    @hookimpl
    def on_train_end(self, run: Run) -> None:
        run.history["loss"]


@breaks(Clause.NO_EXCEPTION)
class WantsValidation(Sound):
    """In a loop by steps, the end of an epoch may be an observation of training alone."""

    @hookimpl
    def on_metrics(self, metrics: Mapping[str, float]) -> None:
        metrics["val_loss"]


@breaks(Clause.NO_EXCEPTION)
class LogsWhatIsThere(Sound):
    @hookimpl
    def on_metrics(self, run: Run) -> None:
        run.log(loss=0.0)


@breaks(Clause.NO_EXCEPTION)
class WantsARun(Sound):
    began: bool = attrs.field(default=False, init=False)

    @hookimpl
    def on_train_begin(self) -> None:
        self.began = True

    @hookimpl
    def on_predict_end(self) -> None:
        if not self.began:
            raise RuntimeError


@breaks(Clause.NO_EXCEPTION)
class Quits(Sound):
    @hookimpl
    def on_checkpoint(self) -> None:
        raise SystemExit


@breaks(Clause.NO_EXCEPTION)
class CannotSave(Sound):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rate": 1 / (3 - self.cuts)}


@breaks(Clause.JSON_STATE)
class SavesASet(Sound):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": {self.best}}


@breaks(Clause.JSON_STATE)
class SavesNumbersAsKeys(Sound):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": dict.fromkeys(range(self.cuts), 0)}


@breaks(Clause.ROUND_TRIP)
class LoadsLess(Sound):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]


@breaks(Clause.ROUND_TRIP)
class CannotLoad(Sound):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.waited = state["waited"] if state["best"] is None else state["wait"]


@breaks(Clause.VOTES)
class Wordless(Sound):
    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        run.stop(" ")


@breaks(Clause.VOTES)
class Forger(Sound):
    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        run.as_plugin("early_stopping").stop("it was not me")


@breaks(Clause.DETERMINISM)
class Moody(Sound):
    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        run.learning_rate = random.random()  # noqa: S311 - no secret


COUNT = itertools.count()
ONCE = itertools.count()


@breaks(Clause.DETERMINISM)
class CountsTheProcess(Sound):
    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        run.learning_rate = 1 / (1 + next(COUNT))


@breaks(Clause.DETERMINISM)
class LogsTheProcess(Sound):
    @hookimpl
    def on_metrics(self, run: Run) -> None:
        run.log(count=next(COUNT))


@breaks(Clause.DETERMINISM)
class DiffersOnce(Sound):
    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        if next(ONCE) == 50:
            run.learning_rate = 0.01


@breaks(Clause.DETERMINISM)
class CountsInvisibly(Sound):
    needs: ClassVar[tuple[Capability, ...]] = ("learning_rate", "snapshot")

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        run.trainee.restore({"weights": [float(next(COUNT))]})


@breaks(Clause.RESUME)
class SavesLess(Sound):
    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": 0, "cuts": self.cuts}


@breaks(Clause.RESUME)
class ForgetsWhatItLoaded(Sound):
    @hookimpl
    def on_train_begin(self) -> None:
        self.waited = 0


@breaks(Clause.RESUME)
class ForgetsWithinTheEpoch(Sound):
    """Only a cut after an observation by steps shows it."""

    observations: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_epoch_begin(self) -> None:
        self.observations = 0

    @hookimpl
    def on_metrics(self, run: Run) -> None:
        self.observations += 1
        if self.observations == 2:
            run.learning_rate /= 2


@breaks(Clause.RESUME)
class LogsFewer(Sound):
    batches: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        run.log(batches=self.batches)


@breaks(Clause.RESUME)
class ForgetsTheRate(Sound):
    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        run.learning_rate = 0.01


@breaks(Clause.RESUME)
class ForgetsTheCooldown(ReduceLROnPlateau):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "cooling": 0}


MUTANTS[-1] = (Clause.RESUME, lambda: ForgetsTheCooldown(patience=1, cooldown=3))


@breaks(Clause.FRESH_STATE)
class Remembers(Sound):
    runs: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_train_end(self) -> None:
        self.runs += 1

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        run.learning_rate /= 1 + self.runs


class WithoutWeakReferences:
    """An engine cannot know it again, so its state in a new engine is what it is."""

    __slots__ = ("epochs",)

    def __init__(self) -> None:
        self.epochs = 0

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        self.epochs += 1
        if self.epochs == 3:
            run.stop("three epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs = state["epochs"]


MUTANTS.append((Clause.FRESH_STATE, WithoutWeakReferences))


@breaks(Clause.PARAMETERS)
class LosesPatience(Sound):
    @hookimpl
    def on_train_end(self) -> None:
        self.patience -= 1


@breaks(Clause.PARAMETERS)
class CollectsInItsParameter(Sound):
    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        super().on_epoch_end(run, metrics)
        self.rates.append(run.learning_rate)


@breaks(Clause.NEEDS)
class SetsTheRate:
    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        run.learning_rate = 0.01


@breaks(Clause.NEEDS)
class ReadsTheRate:
    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        repr(run.learning_rate)


@breaks(Clause.NEEDS)
class TakesSnapshots(Sound):
    best_weights: Snapshot = attrs.field(default=None, init=False)

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        self.best_weights = run.trainee.snapshot()


@breaks(Clause.NEEDS)
class Writes(Sound):
    needs: ClassVar[tuple[Capability, ...]] = ("learning_rate", "snapshot")

    @hookimpl
    def on_checkpoint(self, run: Run) -> None:
        run.trainee.read(Path())


def test_a_plugin_that_does_nothing_wrong_passes() -> None:
    """What the mutants were made from keeps the contract."""
    check_plugin(Sound)


@attrs.define(eq=False)
class Logs:
    """Logs how many batches there were, and how many of them before the latest observation."""

    batches: int = attrs.field(default=0, init=False)
    observed: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        run.log(batches=self.batches)

    @hookimpl
    def on_metrics(self, run: Run) -> None:
        run.log(before=self.observed)
        self.observed = self.batches

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "observed": self.observed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches, self.observed = state["batches"], state["observed"]


def test_a_plugin_that_logs_metrics_passes() -> None:
    """What it has logged, and what no observation has yet, is resumed with the run."""
    check_plugin(Logs)


@pytest.mark.parametrize(("clause", "factory"), MUTANTS)
def test_a_breach_is_caught_under_its_clause(clause: Clause, factory: Factory) -> None:
    """A plugin that breaks one clause fails the check, with the plugin and that clause in the error."""
    name = type(factory()).__name__
    with pytest.raises(AssertionError, match=rf"^{name}.* breaks its contract: {re.escape(clause)}\. "):
        check_plugin(factory, settings=QUICK)


def test_every_clause_has_a_breach() -> None:
    """The mutants leave no clause out."""
    assert {clause for clause, _ in MUTANTS} == set(Clause)


def test_every_clause_is_documented() -> None:
    """docs/testing-plugins.md lists the clauses in order, word for word."""
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", (ROOT / "docs/testing-plugins.md").read_text(), re.MULTILINE)
    assert [(clause.name, str(clause)) for clause in Clause] == listed


# What the author gives, and gets.


def test_the_error_shows_the_shortest_sequence() -> None:
    """With the default settings the error ends with the events that led to the breach, cut down to few, one on each line."""
    with pytest.raises(AssertionError) as caught:
        check_plugin(NoInfinity)
    said, *events = str(caught.value).splitlines()
    assert said.startswith("NoInfinity ('no_infinity') breaks its contract: ")
    assert events[0] == "The shortest sequence of events that was found for it:"
    assert events[1] == "  on_train_begin()"
    assert len(events) <= 9
    assert events[-1].startswith("  on_batch_end(")
    assert not hasattr(caught.value, "__notes__")
    assert isinstance(caught.value.__cause__, ValueError | OverflowError)


@attrs.define(eq=False)
class Abandons:
    """Raises a documented error at the end of the third epoch."""

    metric: str = "loss"

    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        if self.metric not in metrics or len(run.history) > 2:
            raise MetricError("enough")


@attrs.define(eq=False)
class Faints(Sound):
    """Raises a documented error at NaN, after which it is disabled."""

    role: ClassVar[str] = "observer"

    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        if math.isnan(metrics["loss"]):
            raise MetricError("no number")
        super().on_epoch_end(run, metrics)


def test_documented_errors_are_no_breach() -> None:
    """An error in `raises` may end a run, or disable an observer; without it, the same error is a breach."""
    check_plugin(Abandons, raises=(MetricError,), settings=SHORT)
    check_plugin(Faints, raises=(MetricError,), settings=SHORT)
    with pytest.raises(AssertionError, match=f"{Clause.NO_EXCEPTION}.*MetricError"):
        check_plugin(Abandons, settings=SHORT)


@attrs.define(eq=False)
class Counts:
    """Stops at the second loss, and keeps in `saved` how many there were; `_old` is its own."""

    saved: bool
    seen: int = attrs.field(default=0, init=False)
    _old: list[int] = attrs.field(factory=list, init=False)

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        logging.getLogger("hookcore").warning("a plugin has counted")
        logging.getLogger("acme").warning("and says it")
        self.seen += 1
        self._old.append(epoch)
        if self.seen == 2:
            run.stop("seen two", metric="loss", value=2.0)

    def state_dict(self) -> dict[str, Any]:
        return {"old": list(map(str, self._old)), "seen": self.seen if self.saved else 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen, self._old = state["seen"], list(map(int, state["old"]))


def test_a_breach_says_what_each_run_decided_and_which_attribute_was_not_saved() -> None:
    """In words, and without the attributes that the state has in another form."""
    check_plugin(lambda: Counts(saved=True), settings=SHORT)
    with pytest.raises(AssertionError) as caught:
        check_plugin(lambda: Counts(saved=False))
    said = str(caught.value).splitlines()[0]
    assert re.search(
        r"the decisions differed\. The run that never stopped: counts: stop \(epoch=1, step=\d+, value=2\.0\): 'seen two'\. "
        r"The run that was resumed: none\. A run changed these attributes, and its state_dict does not return them: seen\.$",
        said,
    )


def test_what_its_runs_log_does_not_fill_the_log_of_a_test(caplog: pytest.LogCaptureFixture) -> None:
    """What a plugin logs is there, by whatever logger, and so is what hookcore logs afterwards."""
    check_plugin(lambda: Counts(saved=True), settings=SHORT)
    assert set(caplog.messages) == {"a plugin has counted", "and says it"}
    assert logging.getLogger("hookcore").filters == []


def test_metrics_are_those_named() -> None:
    """No metric in `metrics` is missing, unless `missing` says so, and none but those is there."""

    def made() -> Abandons:
        return Abandons("val_f1")

    with pytest.raises(AssertionError, match="MetricError"):
        check_plugin(made, settings=SHORT)
    check_plugin(lambda: OnlyThese({"val_f1"}), metrics=["val_f1"], settings=SHORT)
    with pytest.raises(AssertionError, match="KeyError"):
        check_plugin(lambda: OnlyThese({"val_f1"}), metrics=["val_f1"], missing=True, settings=SHORT)


@attrs.define(eq=False)
class OnlyThese:
    """Raises where the metrics of an epoch are not these."""

    names: set[str]

    @hookimpl
    def on_epoch_end(self, metrics: Mapping[str, float]) -> None:
        if self.names != set(metrics):
            raise KeyError(*metrics)


class Asks:
    """Uses what there is, and needs nothing."""

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        if run.trainee.lacks("learning_rate") is None:
            run.learning_rate = 0.01
        if run.trainee.lacks("snapshot") is None:
            run.trainee.restore(run.trainee.snapshot())

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        with contextlib.suppress(AttributeError):
            repr(run.learning_rate)


def test_what_a_plugin_asks_for_it_need_not_list() -> None:
    """A plugin that asks what the trainee lacks, or copes without a learning rate to read, needs no word in its needs."""
    check_plugin(Asks, settings=SHORT)


def test_values_are_as_wild_as_asked_for() -> None:
    """NaN and infinities come unless told otherwise."""
    check_plugin(NoInfinity, nan=False, infinity=False, settings=SHORT)


def test_a_clock_that_each_event_moves() -> None:
    """`tick` is called before each event: without it, the clock of this plugin stands still and it never stops."""
    clock = Clock()
    votes: list[float] = []

    @attrs.define(eq=False)
    class Late(TimeLimit):
        @hookimpl
        def on_train_end(self, run: Run) -> None:
            votes.extend(self.clock() for _ in run.stop_reasons if run.stop_reasons[0].plugin == "late")

    check_plugin(lambda: Late(seconds=5, clock=clock), settings=SHORT)
    assert votes == []
    check_plugin(lambda: Late(seconds=5, clock=clock), tick=clock.tick, settings=SHORT)
    assert votes


def test_the_machine_is_a_test_case() -> None:
    """`plugin_machine` gives the machine itself, for a test case or for settings of one's own."""
    machine = plugin_machine(Sound)
    assert machine.__name__ == "SoundMachine"
    assert callable(machine.TestCase().runTest)
    with pytest.raises(AssertionError, match=f"SavesLess.*{Clause.RESUME}"):
        run_state_machine_as_test(plugin_machine(SavesLess), settings=QUICK)
    with pytest.raises(AssertionError, match=f"Misspelt breaks its contract: {Clause.REGISTRATION}.*Did you mean 'on_epoch_end'"):
        plugin_machine(Misspelt)


def test_an_instance_for_a_factory_is_refused() -> None:
    """The error shows what to write."""
    plugin: Any = RecordingPlugin()
    with pytest.raises(ParameterError, match=r"got RecordingPlugin.*Write check_plugin\(lambda: RecordingPlugin\(\.\.\.\)\)\."):
        check_plugin(plugin)
