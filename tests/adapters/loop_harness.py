"""The harness of `Loop`: a line that is fitted in plain Python, in a hand-written loop."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from hookcore.testing import Feature, Harness, Job, ScriptedTrainee, digest_of
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define(eq=False)
class Line(ScriptedTrainee):
    """`y = w x + b`, fitted by gradient descent with momentum."""

    weights: list[float] = attrs.field(factory=lambda: [0.5, 0.0])
    optimizer_state: list[float] = attrs.field(factory=lambda: [0.0, 0.0, 0.0])
    """The momentum of each weight, and the number of updates."""
    gradients: list[float] = attrs.field(factory=lambda: [0.0, 0.0])

    def loss(self, x: float) -> float:
        return (self.weights[0] * x + self.weights[1] - 3 * x) ** 2

    def add_gradient(self, x: float) -> None:
        error = 2 * (self.weights[0] * x + self.weights[1] - 3 * x)
        self.gradients = [self.gradients[0] + error * x, self.gradients[1] + error]

    def update(self) -> None:
        *momentum, updates = self.optimizer_state
        momentum = [0.9 * own + gradient for own, gradient in zip(momentum, self.gradients, strict=True)]
        self.optimizer_state = [*momentum, updates + 1]
        self.weights = [weight - self.learning_rate * own for weight, own in zip(self.weights, momentum, strict=True)]
        self.gradients = [0.0, 0.0]


class Rateless:
    """A line without a learning rate."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def __getattr__(self, name: str) -> Any:
        if name == "learning_rate":
            raise AttributeError(name)
        return getattr(self.line, name)


class LoopHarness(Harness):
    """Trains a `Line` in a `Loop`."""

    name = "loop"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.SANITY_CHECK: "the loop does not see evaluations before it",
        Feature.MIN_EPOCHS: "your own code decides whether it asks for another epoch",
        Feature.OWN_STOP: "your own code stops with `break`, which leaves the last epoch without an end",
        Feature.RATE_GROUPS: "the trainee has one rate",
        Feature.SCHEDULE: "your trainee decides whether it has a learning rate that plugins can set",
        Feature.SCALAR_WEIGHTS: "the trainee decides which weights it has: see TorchTrainee",
        Feature.BFLOAT16: "the trainee decides which weights it has: see TorchTrainee",
        Feature.OWN_CHECKPOINT: "a loop of your own writes no checkpoint",
        Feature.OWN_LOADER: "the trainee decides what opens a checkpoint",
        Feature.TWO_RUNS: "a Loop is one run; entering it again is an error",
    }

    def __init__(self, job: Job) -> None:
        self.job = job
        rate = job.scenario.learning_rate
        self.line = Line(learning_rate=rate or 0.125, cannot={} if rate else {"learning_rate": "this one was made without"})
        self.trainee: Any = self.line if rate else Rateless(self.line)

    def train(self) -> None:
        job, scenario = self.job, self.job.scenario
        with Loop(job.plugins, epochs=scenario.epochs, trainee=self.trainee, resume=job.resume) as loop:
            for epoch in loop.epochs():
                numbers = random.Random(epoch)  # noqa: S311 - not for security
                data = [numbers.uniform(-0.5, 0.5) for _ in range(scenario.batches)]
                for number, x in loop.batches(list(enumerate(data, 1)), accumulate=scenario.accumulate):
                    loop.log(loss=self.line.loss(x))
                    self.line.add_gradient(x)
                    job.trains()
                    if number % scenario.accumulate == 0 or number == len(data):
                        self.line.update()
                    if scenario.evaluate_every_steps is not None and loop.every(scenario.evaluate_every_steps):
                        self.evaluate(loop)
                loop.log(score=job.report("score"))
                every = scenario.evaluate_every_epochs
                if scenario.evaluate_every_steps is None and every is not None and (epoch + 1) % every == 0:
                    self.evaluate(loop)

    def evaluate(self, loop: Loop) -> None:
        for number in range(1, self.job.scenario.sets + 1):
            with loop.evaluation("val_" if number == 1 else f"val_{number}_"):
                for x in loop.batches(range(self.job.scenario.evaluation_batches)):
                    loop.log(loss=self.line.loss(x))
                loop.log(score=self.job.report("val_score" if number == 1 else f"val_score_{number}"))

    def digest(self) -> str:
        return digest_of({"weights": str(self.line.weights), "optimizer": str(self.line.optimizer_state)})

    def updates(self) -> int:
        return int(self.line.optimizer_state[-1])

    def rates(self) -> tuple[float, ...]:
        return (self.line.learning_rate,)

    def predict(self) -> str:
        return digest_of({"predicted": [self.line.weights[0] * x + self.line.weights[1] for x in (-1.0, 0.5, 2.0)]})
