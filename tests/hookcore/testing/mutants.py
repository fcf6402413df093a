"""A plugin that keeps the contract, and mutants of it: each breaks one clause, and differs from it in one thing."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from hookcore import Run, hookimpl
from hookcore.testing import Clause
from hookcore.trainee import Capability
from hookcore_plugins import ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore.trainee import Snapshot

    Factory = Callable[[], object]


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
    """Return a decorator that lists a mutant of `Sound`, or another plugin, as one that breaks `clause`."""

    def listed(mutant: type) -> type:
        made = attrs.define(eq=False)(mutant)
        MUTANTS.append((clause, made))
        return made

    return listed


@breaks(Clause.REGISTRATION)
class Misspelt(Sound):
    @hookimpl
    def on_epoch_ende(self) -> None:
        """Do nothing: there is no such hook."""


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
        """Do nothing: a plugin without a hook could not be registered."""

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
        raise ConnectionError("no caller gets this error")


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
    """Expects validation in each observation, which the end of an epoch may lack in a run by steps."""

    @hookimpl
    def on_metrics(self, metrics: Mapping[str, float]) -> None:
        metrics["val_loss"]


@breaks(Clause.NO_EXCEPTION)
class LogsAMetricOfTheLoop(Sound):
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
    """Fails only if the run is saved after an observation by steps."""

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
    """Keeps its state in a new engine, which cannot recognize it."""

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
