"""A made-up framework that has everything, its adapter and its harness: they keep the contract, and mutants of them break it."""
# ruff: noqa: ARG002 - callbacks take what the framework gives them

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from hookcore import Run
from hookcore.driver import Driver
from hookcore.testing import Feature, Harness, Job, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Mode, Position, Resume
    from hookcore.testing import Scenario


@attrs.define
class Tensor:
    """Numbers of one kind, in a shape."""

    kind: str
    shape: list[int]
    numbers: list[float]

    def as_list(self) -> list[Any]:
        return [self.kind, self.shape, self.numbers]


class Trainer:
    """Fits `y = w x` by gradient descent with momentum, and calls its callbacks."""

    def __init__(self, job: Job, callbacks: Sequence[Any]) -> None:
        self.job, self.scenario, self.callbacks = job, job.scenario, callbacks
        self.weights = {"w": Tensor("float32", [2], [0.5, 0.0])}
        if job.scenario.scalar:
            self.weights["scale"] = Tensor("float32", [], [1.0])
        if job.scenario.bfloat16:
            self.weights["half"] = Tensor("bfloat16", [1], [1.0])
        self.momentum = {name: [0.0] * len(tensor.numbers) for name, tensor in self.weights.items()}
        self.gradients = {name: [0.0] * len(tensor.numbers) for name, tensor in self.weights.items()}
        self.updates = 0
        rate = job.scenario.learning_rate
        self.rates = list(job.scenario.groups) or ([] if rate is None else [rate])
        self.first = (0, 0)
        self.epoch = 0
        self.should_stop = False
        self.stopped_by: str | None = None
        self.is_sanity_checking = False
        self.best_iteration: int | None = None
        self.record: str | None = None
        if job.own_checkpoint is not None:
            self.load(job.own_checkpoint)

    def fit(self) -> None:
        self.should_stop, self.stopped_by, self.first = False, None, self.first if self.record else (0, 0)
        self.call("fit_begin")
        try:
            if self.scenario.sanity_check:
                self.is_sanity_checking = True
                self.validate()
                self.is_sanity_checking = False
            first, skipped = self.first
            for epoch in range(first, self.scenario.epochs):
                self.epoch = epoch
                if self.stops():
                    break
                self.fit_epoch(skipped)
                skipped = 0
        except BaseException as error:
            self.call("failed", error)
            raise
        self.call("fit_end")

    def stops(self) -> bool:
        return self.should_stop and self.epoch >= self.scenario.min_epochs

    def fit_epoch(self, skipped: int) -> None:
        scenario = self.scenario
        self.call("epoch_begin")
        for number, x in enumerate(self.data(self.epoch)[:]):
            if number < skipped:
                continue
            if self.stops():
                break
            self.call("batch_begin")
            loss = self.add_gradient(x)
            self.job.trains()
            is_update = (number + 1) % scenario.accumulate == 0 or number + 1 == scenario.batches
            if is_update:
                self.update()
            every = scenario.evaluate_every_steps
            validates = is_update and every is not None and self.updates % every == 0
            self.call("batch_end", {"loss": loss}, int(is_update), validates)
            if validates:
                self.validate()
                self.call("batch_settled")
        every = None if scenario.evaluate_every_steps is not None else scenario.evaluate_every_epochs
        if every is not None and (self.epoch + 1) % every == 0:
            self.validate()
        self.epoch_metrics = {"score": self.job.report("score")}
        self.call("epoch_end", self.epoch_metrics)

    def data(self, epoch: int) -> list[float]:
        numbers = random.Random(epoch)  # noqa: S311 - no secret
        return [numbers.uniform(-0.5, 0.5) for _ in range(self.scenario.batches)]

    def validate(self) -> None:
        for number in range(1, self.scenario.sets + 1):
            self.call("validate_begin", number)
            for _ in range(self.scenario.evaluation_batches):
                self.call("validate_batch_begin", number)
                self.call("validate_batch_end", number)
            name = "score" if number == 1 else f"score_{number}"
            self.call("validate_end", number, {name: self.job.report(f"val_{name}")})

    def add_gradient(self, x: float) -> float:
        error = self.output(x) - 3 * x
        for name, gradient in self.gradients.items():
            self.gradients[name] = [own + error * (x if number == 0 else 1.0) for number, own in enumerate(gradient)]
        return error**2

    def output(self, x: float) -> float:
        w, *others = (tensor.numbers for tensor in self.weights.values())
        return w[0] * x + w[1] + 0.01 * sum(other[0] for other in others)

    def update(self) -> None:
        rate = self.rates[0] if self.rates else 0.125
        for name, gradient in self.gradients.items():
            momentum = self.momentum[name]
            momentum[:] = [0.9 * own + new for own, new in zip(momentum, gradient, strict=True)]
            numbers = self.weights[name].numbers
            numbers[:] = [weight - rate * own for weight, own in zip(numbers, momentum, strict=True)]
            self.gradients[name] = [0.0] * len(gradient)
        self.updates += 1

    def state(self) -> dict[str, Any]:
        weights = {name: Tensor(one.kind, list(one.shape), list(one.numbers)) for name, one in self.weights.items()}
        momentum = {name: list(numbers) for name, numbers in self.momentum.items()}
        return {"weights": weights, "momentum": momentum, "updates": self.updates, "rates": list(self.rates)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.weights = {name: Tensor(one.kind, list(one.shape), list(one.numbers)) for name, one in state["weights"].items()}
        self.momentum = {name: list(numbers) for name, numbers in state["momentum"].items()}
        self.updates, self.rates = state["updates"], list(state["rates"])

    def save(self, path: Path) -> None:
        extra: dict[str, Any] = {}
        self.call("saving", extra)
        path.write_text(dumps({**self.state(), "next": [self.epoch + 1, 0], "extra": extra}))

    def load(self, path: Path) -> None:
        state = loads(path.read_text())
        self.set_state(state)
        self.first, self.record = tuple(state["next"]), state["extra"].get("hookcore")

    def call(self, name: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            method = getattr(callback, name, None)
            if method is not None:
                method(self, *arguments)


def dumps(state: Mapping[str, Any]) -> str:
    return json.dumps({**state, "weights": {name: one.as_list() for name, one in state["weights"].items()}})


def loads(text: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(text)
    return {**state, "weights": {name: Tensor(*one) for name, one in state["weights"].items()}}


class StopAfter:
    """The framework's own way to stop."""

    def epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if trainer.epoch + 1 == trainer.scenario.own_stop_after:
            trainer.should_stop, trainer.stopped_by = True, "StopAfter"


class Saver:
    """The framework's own checkpoints."""

    def epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        trainer.save(trainer.job.directory / f"{trainer.epoch:03}.json")


class ToyTrainee:
    """The trainer's state, as plugins save and restore it."""

    framework = "toy"

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def learning_rate(self) -> float:
        if not self.trainer.rates:
            raise AttributeError("this optimizer has no learning rate")
        return self.trainer.rates[0]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        first = self.trainer.rates[0]
        self.trainer.rates = [value * rate / first for rate in self.trainer.rates]

    def lacks(self, capability: str) -> str | None:
        if capability == "learning_rate":
            return "a schedule sets it" if self.trainer.scenario.schedule else None
        return None if capability in {"snapshot", "checkpoint"} else "a toy cannot be looked into"

    def snapshot(self, *, optimizer: bool = True) -> Any:
        state = self.trainer.state()
        return state if optimizer else {"weights": state["weights"]}

    def restore(self, snapshot: Any) -> None:
        self.trainer.set_state({**self.trainer.state(), **snapshot})

    def write(self, snapshot: Any, directory: Path) -> None:
        (directory / "toy.json").write_text(dumps(snapshot))

    def read(self, directory: Path) -> Any:
        return loads((directory / "toy.json").read_text())

    def direction(self, metric: str) -> Mode | None:
        return "min" if metric.removeprefix("val_") == "loss" else None


class ToyAdapter:
    """Plugins in a `Trainer`."""

    name = "toy"
    ends_of_data = ()
    trainee: type[ToyTrainee] = ToyTrainee

    def __init__(self, plugins: Any, resume: Resume) -> None:
        self.driver = Driver(plugins, resume=resume, host=self)
        self.trainer: Trainer | None = None

    def stop(self) -> None:
        assert self.trainer is not None
        self.trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        assert self.trainer is not None
        if self.trainer.record is None:  # else the framework knows where it continues
            self.trainer.first = (position.epoch, position.batch)

    def fit_begin(self, trainer: Trainer) -> None:
        self.trainer = trainer
        run = Run.of(self.trainee(trainer), epochs=trainer.scenario.epochs, model=trainer)
        self.driver.begin(run, min_epochs=self.min_epochs(trainer.scenario), record=trainer.record)

    def min_epochs(self, scenario: Scenario) -> int:
        return scenario.min_epochs

    def epoch_begin(self, trainer: Trainer) -> None:
        self.driver.epoch_begin()

    def batch_begin(self, trainer: Trainer) -> None:
        self.driver.batch_begin()

    def batch_end(self, trainer: Trainer, metrics: dict[str, float], updates: int, validates: bool) -> None:  # noqa: FBT001
        if validates:
            self.driver.batch_held(metrics, updates=updates)
        else:
            self.driver.batch_end(metrics, updates=updates)

    def batch_settled(self, trainer: Trainer) -> None:
        self.driver.settled()

    def validate_begin(self, trainer: Trainer, number: int) -> None:
        if not trainer.is_sanity_checking:
            self.driver.evaluate_begin("val_")

    def validate_batch_begin(self, trainer: Trainer, number: int) -> None:
        if not trainer.is_sanity_checking:
            self.driver.evaluate_batch_begin()

    def validate_batch_end(self, trainer: Trainer, number: int) -> None:
        if not trainer.is_sanity_checking:
            self.driver.evaluate_batch_end()

    def validate_end(self, trainer: Trainer, number: int, metrics: dict[str, float]) -> None:
        if not trainer.is_sanity_checking:
            self.driver.evaluate_end(metrics, named={f"val_{name}": value for name, value in metrics.items()})

    def epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        self.driver.epoch_end(metrics)

    def saving(self, trainer: Trainer, extra: dict[str, Any]) -> None:
        self.epoch_end(trainer, trainer.epoch_metrics)  # the callback that saves may be called before this one
        extra["hookcore"] = self.driver.record()

    def failed(self, trainer: Trainer, error: BaseException) -> None:
        self.driver.end(error)

    def fit_end(self, trainer: Trainer) -> None:
        self.driver.end(by=trainer.stopped_by)
        run = self.driver.run
        assert run is not None
        trainer.best_iteration = next((vote.best_epoch for vote in run.stop_reasons), None)


class ToyHarness(Harness):
    """Trains a `Trainer`; it lacks nothing."""

    name = "toy"
    refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "a schedule sets it"}
    directions: ClassVar[Mapping[str, Mode | None]] = {"score": None, "val_score": None}
    adapter: type[ToyAdapter] = ToyAdapter
    trainer: type[Trainer] = Trainer

    def __init__(self, job: Job) -> None:
        own = self.adapter(job.plugins, job.resume)
        savers: dict[str, list[Any]] = {"before": [Saver(), own], "after": [own, Saver()], "": [own]}
        self.toy = self.trainer(job, [StopAfter(), *savers[job.scenario.own_checkpoints]])

    def train(self) -> None:
        self.toy.fit()

    def digest(self) -> str:
        state = self.toy.state()
        return digest_of({"momentum": str(state["momentum"]), "weights": str(state["weights"])})

    def updates(self) -> int:
        return self.toy.updates

    def rates(self) -> Sequence[float]:
        return self.toy.rates

    def predict(self) -> str:
        return str([self.toy.output(x) for x in (-1.0, 0.5, 2.0)])

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        w = loads((checkpoint / "toy.json").read_text())["weights"]["w"].numbers
        return str([w[0] * x + w[1] for x in (-1.0, 0.5, 2.0)])

    def own_checkpoints(self) -> Sequence[Path]:
        return sorted(self.toy.job.directory.glob("*.json"))

    def best_iteration(self) -> int | None:
        return self.toy.best_iteration
