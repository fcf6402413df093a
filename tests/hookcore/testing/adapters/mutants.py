"""Mutants of the made-up framework, its adapter and its harness: each breaks some clauses, and differs in one thing."""
# ruff: noqa: ARG002 - callbacks take what the framework gives them

from __future__ import annotations

import contextlib
import math
import os
import signal
import types
from typing import TYPE_CHECKING, Any

from hookcore.testing import Check
from tests.hookcore.testing.adapters.toy import ToyAdapter, ToyHarness, ToyTrainee, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hookcore.testing import Scenario

MUTANTS: list[tuple[set[Check], type[ToyHarness]]] = []


def breaks(*checks: Check) -> Callable[[type], type]:
    """Return a decorator that lists a mutant of the adapter, trainee, trainer or harness as one that breaks `checks` alone."""

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
class ReportsAnotherEvaluation(ToyAdapter):
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
class IgnoresErrors(ToyAdapter):
    def failed(self, trainer: Trainer, error: BaseException) -> None:
        pass


@breaks(Check.OWN_STOP)
class DoesNotNameWhoStopped(ToyAdapter):
    def fit_end(self, trainer: Trainer) -> None:
        trainer.stopped_by = None
        super().fit_end(trainer)


@breaks(Check.OWN_STOP)
class NamesAPluginThatDidNotStop(ToyAdapter):
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
        trainer.should_stop = self.driver.stopping and trainer.first[1] == 0  # an interrupted epoch is finished

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
class ReportsMetricsLate(ToyAdapter):
    late: Mapping[str, float] = types.MappingProxyType({})

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        late, self.late = self.late, dict(metrics)
        super().epoch_end(trainer, metrics if trainer.record else dict(late))


@breaks(Check.ACCUMULATION)
class CountsBatches(ToyAdapter):
    def batch_end(self, trainer: Trainer, metrics: dict[str, float], updates: int, validates: bool) -> None:  # noqa: FBT001
        super().batch_end(trainer, metrics, 1, validates)


@breaks(Check.EVALUATIONS)
class ReportsOneSet(ToyAdapter):
    def validate_end(self, trainer: Trainer, number: int, metrics: dict[str, float]) -> None:
        super().validate_end(trainer, number, metrics if number == 1 else {})


@breaks(Check.EVALUATIONS)
class ReportsTheSanityCheck(ToyAdapter):
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
    """Fails only if a run is saved after the last batch of an epoch, or at its end."""

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
class TrainsAfterRestoring(Trainer):
    """Changes the weights after the best ones were restored."""

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
