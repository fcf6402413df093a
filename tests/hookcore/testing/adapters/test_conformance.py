"""The contract of adapters: what keeps it passes, and a breach of each clause is caught under the clause's name."""
# ruff: noqa: ARG002 - callbacks take what the framework gives them

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hookcore import CapabilityError, ParameterError
from hookcore.testing import AdapterCheck, Check, Feature, Harness, Result, adapter_checks, check_adapter
from tests.hookcore.testing.adapters.toy import ToyAdapter, ToyHarness, ToyTrainee, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore.testing import Job, Scenario


@pytest.mark.parametrize("check", adapter_checks(ToyHarness), ids=lambda check: check.name)
def test_an_adapter_that_has_everything_keeps_the_contract(check: AdapterCheck) -> None:
    """Each case works; a schedule, and a plugin that needs views, are refused by name."""
    result = check()
    expected = "refused" if check.name in {"learning_rate-under_a_schedule", "plugins-activations"} else "works"
    assert (result.verdict, bool(result.reason)) == (expected, expected == "refused")


# A breach of each clause. Every mutant differs from what keeps the contract in one thing.

MUTANTS: list[tuple[set[Check], type[ToyHarness]]] = []


def breaks(*checks: Check) -> Callable[[type], type]:
    """Lists a mutant of the adapter, its trainee, the trainer or the harness, that breaks `checks` and no other."""

    def listed(mutant: type) -> type:
        parts: dict[str, Any] = {}
        if issubclass(mutant, ToyTrainee):
            parts["adapter"] = type(mutant.__name__, (ToyAdapter,), {"trainee": mutant})
        elif issubclass(mutant, ToyAdapter):
            parts["adapter"] = mutant
        elif issubclass(mutant, Trainer):
            parts["trainer"] = mutant
        harness = mutant if issubclass(mutant, ToyHarness) else type(mutant.__name__, (ToyHarness,), parts)
        harness.__module__, harness.__qualname__ = __name__, f"{mutant.__name__}Harness"
        globals()[harness.__qualname__] = harness  # another process imports it
        MUTANTS.append((set(checks), harness))
        return mutant

    return listed


@breaks(Check.SEQUENCE, Check.EVALUATIONS)
class HearsAnEvaluationMore(ToyAdapter):
    def fit_end(self, trainer: Trainer) -> None:
        if self.driver.is_running and trainer.scenario.epochs:
            self.driver.evaluate_begin()
            self.driver.evaluate_end({})
        super().fit_end(trainer)


@breaks(Check.SEQUENCE)
class LeavesTheEpochThatIsStopped(ToyAdapter):
    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        if self.driver.stopping and not trainer.record:
            self.driver.leave()
        else:
            super().epoch_end(trainer, metrics)


@breaks(Check.PLUGIN_ERROR)
class SwallowsErrors(ToyAdapter):
    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        try:
            super().epoch_end(trainer, metrics)
        except RuntimeError:
            trainer.should_stop = True


@breaks(Check.OWN_ERROR)
class IsNotToldOfErrors(ToyAdapter):
    def failed(self, trainer: Trainer, error: BaseException) -> None:
        pass


@breaks(Check.OWN_STOP)
class DoesNotSayWhoStopped(ToyAdapter):
    def fit_end(self, trainer: Trainer) -> None:
        trainer.stopped_by = None
        super().fit_end(trainer)


@breaks(Check.OWN_STOP)
class SaysThatAPluginStopped(ToyAdapter):
    def fit_end(self, trainer: Trainer) -> None:
        if trainer.stopped_by and self.driver.run is not None:
            self.driver.run.as_plugin("early_stopping").stop(trainer.stopped_by)
        super().fit_end(trainer)


@breaks(Check.VOTES)
class ObeysAfterTheEpoch(ToyAdapter):
    def stop(self) -> None:
        pass

    def fit_begin(self, trainer: Trainer) -> None:
        super().fit_begin(trainer)
        trainer.should_stop = self.driver.stopping and trainer.first[1] == 0  # an epoch that was cut is finished

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        super().epoch_end(trainer, metrics)
        trainer.should_stop |= self.driver.stopping and trainer.epoch + 1 >= trainer.scenario.min_epochs


@breaks(Check.MIN_EPOCHS)
class KeepsVotes(ToyAdapter):
    def min_epochs(self, scenario: Scenario) -> int:
        return 0


@breaks(Check.METRICS)
class KeepsMetrics(ToyAdapter):
    kept: Mapping[str, float] = types.MappingProxyType({})

    def validate_end(self, trainer: Trainer, number: int, metrics: dict[str, float]) -> None:
        super().validate_end(trainer, number, metrics)
        self.kept = {"val_score": metrics["score"]} if number == 1 else self.kept

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        super().epoch_end(trainer, {**metrics, **({} if trainer.scenario.evaluate_every_steps else self.kept)})


@breaks(Check.METRICS)
class LosesEvaluationsBySteps(ToyAdapter):
    def batch_end(self, trainer: Trainer, metrics: dict[str, float], updates: int, validates: bool) -> None:  # noqa: FBT001
        super().batch_end(trainer, metrics, updates, validates=False)


@breaks(Check.METRICS, Check.RESUME)
class TellsMetricsLate(ToyAdapter):
    late: Mapping[str, float] = types.MappingProxyType({})

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        late, self.late = self.late, dict(metrics)
        super().epoch_end(trainer, metrics if trainer.record else dict(late))


@breaks(Check.ACCUMULATION)
class CountsBatches(ToyAdapter):
    def batch_end(self, trainer: Trainer, metrics: dict[str, float], updates: int, validates: bool) -> None:  # noqa: FBT001
        super().batch_end(trainer, metrics, 1, validates)


@breaks(Check.EVALUATIONS)
class HearsOneSet(ToyAdapter):
    def validate_end(self, trainer: Trainer, number: int, metrics: dict[str, float]) -> None:
        super().validate_end(trainer, number, metrics if number == 1 else {})


@breaks(Check.EVALUATIONS)
class HearsTheSanityCheck(ToyAdapter):
    def validate_begin(self, trainer: Trainer, number: int) -> None:
        trainer.is_sanity_checking = False
        super().validate_begin(trainer, number)


@breaks(Check.LEARNING_RATE, Check.PLUGINS, Check.RESUME, Check.OWN_CHECKPOINT)
class Reverts(Trainer):
    base: list[float] | None = None

    def fit_epoch(self, skipped: int) -> None:
        self.base = self.base or self.rates
        self.rates = self.base
        super().fit_epoch(skipped)


@breaks(Check.LEARNING_RATE)
class EvensGroups(ToyTrainee):
    learning_rate = property(
        ToyTrainee.learning_rate.fget,  # type: ignore[attr-defined]
        lambda self, value: setattr(self.trainer, "rates", [value for _ in self.trainer.rates]),
    )


@breaks(Check.LEARNING_RATE)
class IgnoresTheSchedule(ToyTrainee):
    def lacks(self, capability: str) -> str | None:
        return None if capability == "learning_rate" else super().lacks(capability)


@breaks(Check.LEARNING_RATE)
class MakesUpARate(ToyTrainee):
    learning_rate = property(
        lambda self: self.trainer.rates[0] if self.trainer.rates else 0.0,
        ToyTrainee.learning_rate.fset,  # type: ignore[attr-defined]
    )


@breaks(Check.SNAPSHOT, Check.BEST, Check.RESUME)
class SnapshotsByReference(ToyTrainee):
    def snapshot(self, *, optimizer: bool = True) -> Any:
        state = super().snapshot(optimizer=optimizer)
        return {**state, "weights": self.trainer.weights} if optimizer is False else {**state, "momentum": self.trainer.momentum}


@breaks(Check.SNAPSHOT)
class AddsADimension(ToyTrainee):
    def read(self, directory: Path) -> Any:
        state = super().read(directory)
        for tensor in state["weights"].values():
            tensor.shape = tensor.shape or [1]
        return state


@breaks(Check.SNAPSHOT)
class WidensHalves(ToyTrainee):
    def write(self, snapshot: Any, directory: Path) -> None:
        for tensor in snapshot["weights"].values():
            tensor.kind = "float32"
        super().write(snapshot, directory)


@breaks(Check.RESUME)
class BeginsTheEpochAgain(ToyAdapter):
    def load_state_dict(self, state: Mapping[str, Any], position: Any) -> None:
        super().load_state_dict(state, position)
        assert self.trainer is not None
        self.trainer.first = (position.epoch, 0)


@breaks(Check.RESUME)
class OtherDataInEachProcess(Trainer):
    def data(self, epoch: int) -> list[float]:
        return [x + os.getpid() / 1e7 for x in super().data(epoch)]


@breaks(Check.RESUME)
class ForgetsAtTheEndOfEpochs(ToyTrainee):
    """Only the cut after the last batch of an epoch, or at its end, shows it."""

    def read(self, directory: Path) -> Any:
        state = super().read(directory)
        if state["updates"] % self.trainer.scenario.batches == 0:
            state["updates"] += 1
            state["momentum"] = {name: [0.0] * len(numbers) for name, numbers in state["momentum"].items()}
        return state


@breaks(Check.OWN_CHECKPOINT)
class RecordsTooEarly(ToyAdapter):
    def saving(self, trainer: Trainer, extra: dict[str, Any]) -> None:
        extra["hookcore"] = self.driver.record()


@breaks(Check.OWN_CHECKPOINT)
class RecordsNothing(ToyAdapter):
    def saving(self, trainer: Trainer, extra: dict[str, Any]) -> None:
        pass


@breaks(Check.OWN_LOADER)
class PredictsOtherwise(ToyHarness):
    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        return f"{super().predict_from(checkpoint)}?"


@breaks(Check.BEST)
class CallsTheLastTheBest(ToyAdapter):
    def fit_end(self, trainer: Trainer) -> None:
        super().fit_end(trainer)
        trainer.best_iteration = trainer.epoch


@breaks(Check.BEST)
class PutsBackTooEarly(Trainer):
    """Trains on after the weights were put back."""

    def fit(self) -> None:
        super().fit()
        if self.should_stop:
            self.add_gradient(1.0)
            self.weights["w"].numbers[0] += 1.0


@breaks(Check.INTERRUPTS)
class RaisesAtOnce(ToyAdapter):
    def epoch_begin(self, trainer: Trainer) -> None:
        self.before = signal.signal(signal.SIGINT, signal.default_int_handler)
        super().epoch_begin(trainer)

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        super().epoch_end(trainer, metrics)
        if self.driver.is_running and not self.driver.stopping:
            signal.signal(signal.SIGINT, self.before)


@breaks(Check.INTERRUPTS)
class SwallowsSystemExit(Trainer):
    def fit(self) -> None:
        with contextlib.suppress(SystemExit):
            super().fit()


@breaks(Check.RUNS)
class IsOneRun(ToyAdapter):
    def fit_begin(self, trainer: Trainer) -> None:
        if self.trainer is None:
            super().fit_begin(trainer)


@breaks(Check.RUNS)
class BeginsAnEpochToo(ToyAdapter):
    def fit_begin(self, trainer: Trainer) -> None:
        super().fit_begin(trainer)
        if not trainer.scenario.epochs:
            self.driver.epoch_begin()


@breaks(Check.RUNS)
class KnowsADirection(ToyTrainee):
    def direction(self, metric: str) -> Any:
        return "max"


@breaks(Check.RUNS)
class HasNoValidation(ToyAdapter):
    def validate_begin(self, trainer: Trainer, number: int) -> None:
        if self.driver.is_running:
            self.driver.run.shared.metric_names = type(self.driver.run.metric_names)(("eval_",))  # type: ignore[union-attr]
        if not trainer.is_sanity_checking:
            self.driver.evaluate_begin()


@breaks(Check.PLUGINS)
class DropsNaN(ToyAdapter):
    def validate_end(self, trainer: Trainer, number: int, metrics: dict[str, float]) -> None:
        super().validate_end(trainer, number, {name: value for name, value in metrics.items() if not math.isnan(value)})


SLOW = {
    "plugin_error-in_every_hook",
    "accumulation-from_each_update",
    "resume-in_a_new_process",
    "resume-of_evaluations_by_steps",
    "own_loader-predicts_in_a_new_process",
    "interrupts-by_ctrl_c",
    "interrupts-by_sigterm",
}
"""What only the mutants are run through that break it."""


@pytest.mark.parametrize(("broken", "harness"), MUTANTS, ids=[harness.__name__ for _, harness in MUTANTS])
def test_a_breach_is_caught_under_its_clause(broken: set[Check], harness: type[Harness]) -> None:
    """Each mutant fails the cases of what it breaks, and the others pass, those alone that take long left out."""
    caught: Counter[Check] = Counter()
    for check in adapter_checks(harness):
        clause = check.check
        if clause not in broken and (check.name in SLOW or (clause is Check.PLUGINS and "reduce" not in check.name)):
            continue
        try:
            check()
        except AssertionError as error:
            assert f"{harness.name} breaks its contract: {clause}" in str(error)  # noqa: PT017 - of each that is caught
            caught[clause] += 1
    assert set(caught) == broken


def test_every_clause_has_a_breach() -> None:
    """No clause is without a mutant of its own."""
    assert set.union(*(broken for broken, _ in MUTANTS if len(broken) == 1)) == set(Check)


def test_every_clause_is_documented() -> None:
    """The documentation's table names every clause and what it says, in order."""
    page = (Path(__file__).parents[4] / "docs/testing-plugins.md").read_text()
    table = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|$", page, re.MULTILINE)
    assert table == [(clause.name, str(clause)) for clause in Check]


class RefusesAPlugin(ToyHarness):
    """Refuses a plugin, although the trainee has what that needs."""

    refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "no log is written here"}

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        if "csv_log" in job.plugins.names:
            raise CapabilityError("Plugin 'csv_log' cannot be used: no log is written here.")


def test_a_plugin_that_the_adapter_refuses_is_declared() -> None:
    """It is refused in the words that the harness declares; other words, and no refusal at all, break the contract."""

    class OtherWords(RefusesAPlugin):
        refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "there is no disk"}

    class NoRefusal(ToyHarness):
        refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "no log is written here"}

    def check_of(harness: type[Harness]) -> AdapterCheck:
        return next(check for check in adapter_checks(harness, [Check.PLUGINS]) if check.case == "csv_log")

    result = check_of(RefusesAPlugin)()
    assert (result.verdict, result.reason) == ("refused", "no log is written here")
    with pytest.raises(AssertionError, match="csv_log should be refused by name because there is no disk, and what was raised"):
        check_of(OtherWords)()
    with pytest.raises(AssertionError, match="csv_log should be refused because no log is written here, and the run ended as"):
        check_of(NoRefusal)()


def test_check_adapter_returns_what_came_of_each_case() -> None:
    """In the order of the clauses: what does not apply and what is refused with the reason."""

    class Lacking(ToyHarness):
        name = "lacking"
        lacks: ClassVar[Mapping[Feature, str]] = {Feature.SEVERAL_SETS: "it has one"}

    assert check_adapter(Lacking, [Check.LEARNING_RATE, Check.EVALUATIONS]) == [
        Result("lacking", Check.EVALUATIONS, "of_several_sets", "not applicable", "it has one"),
        Result("lacking", Check.EVALUATIONS, "of_a_sanity_check", "works"),
        Result("lacking", Check.LEARNING_RATE, "stays_set", "works"),
        Result("lacking", Check.LEARNING_RATE, "of_groups", "works"),
        Result("lacking", Check.LEARNING_RATE, "under_a_schedule", "refused", "a schedule sets it"),
        Result("lacking", Check.LEARNING_RATE, "is_absent", "works"),
    ]


def test_what_is_said_to_be_refused_must_be() -> None:
    """Declared as refused, what works is a breach, and so is a refusal with another reason."""

    class Modest(ToyHarness):
        name = "modest"
        refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "rates are wine", Feature.ACCUMULATION: "it is too much"}

    with pytest.raises(AssertionError, match="gradient accumulation should be refused because it is too much, and the run ended"):
        check_adapter(Modest, [Check.ACCUMULATION])
    with pytest.raises(AssertionError, match="should be refused by a HookcoreError that says 'rates are wine'"):
        check_adapter(Modest, [Check.LEARNING_RATE])


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        ({"SNAPSHOTS": "why not"}, "must be keyed by a Feature, got 'SNAPSHOTS'. Did you mean 'SNAPSHOT'?"),
        ({Feature.SNAPSHOT: " "}, r"Careless.lacks\[Feature.SNAPSHOT\] must say why, got ' '"),
    ],
)
def test_a_declaration_without_a_reason_is_refused(lacks: Mapping[Any, str], expected: str) -> None:
    """When the class is made: a feature that there is not, and a reason that says nothing."""
    with pytest.raises(ParameterError, match=expected.replace("?", r"\?")):
        type("Careless", (Harness,), {"name": "careless", "lacks": lacks})


def test_a_harness_that_no_process_can_import_is_refused() -> None:
    """A class within a function cannot be found by another process: the error says where to put it."""

    class Local(ToyHarness):
        name = "local"

    with pytest.raises(ParameterError, match="must be a class of a module, at its top level"):
        check_adapter(Local, [Check.OWN_LOADER])


def test_what_a_harness_leaves_out_is_named() -> None:
    """A method that a case needs and a harness lacks is an error that says which feature to declare instead."""

    class Short(Harness):
        name = "short"

    with pytest.raises(
        NotImplementedError, match=r"defines rates, unless its `lacks` or `refuses` has a reason for Feature\.LEARNING_RATE"
    ):
        Short.rates(Short.__new__(Short))
