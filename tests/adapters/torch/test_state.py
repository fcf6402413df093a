"""Every optimizer and every scheduler of PyTorch continues exactly from a checkpoint."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from hookcore_adapters.torch import TorchTrainee
from tests.adapters.torch.test_trainee import equal, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    name: lambda parameters, kind=kind: kind(parameters, lr=0.05)
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
} | {
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, nesterov=True),
    "Adam, all": lambda parameters: torch.optim.Adam(parameters, torch.tensor(0.1), amsgrad=True, capturable=False, fused=True),
    "groups": lambda parameters: torch.optim.AdamW([{"params": [one], "lr": 0.1 / (1 + n)} for n, one in enumerate(parameters)]),
    "named": lambda parameters: torch.optim.AdamW([(str(number), one) for number, one in enumerate(parameters)]),
}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    "LambdaLR by an object": lambda optimizer: lr_scheduler.LambdaLR(optimizer, Warming(np.int64(3))),
    "MultiplicativeLR": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda _: 0.9),
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4, 4]),
    "ConstantLR": lr_scheduler.ConstantLR,
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, np.float64(0.9)),
    "PolynomialLR": lr_scheduler.PolynomialLR,
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 4),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, 2),
    "CyclicLR by an object": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, 2, scale_fn=Warming(2)),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer), lr_scheduler.MultiStepLR(optimizer, [1, 2])], [2]
    ),
    "ChainedScheduler": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(optimizer), lr_scheduler.StepLR(optimizer, 3)]
    ),
    "SWALR": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, 0.05, anneal_epochs=3),
}


class Warming:
    """A rule with state, which schedulers save."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / float(self.steps))


class Trained:
    """A small model with an optimizer and perhaps a scheduler, whose steps depend on their number."""

    def __init__(self, optimizer: Callable[[Any], Any], scheduler: Callable[[Any], Any] | None = None, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Embedding(5, 3, sparse=optimizer is OPTIMIZERS["SparseAdam"])
        parameters = list(self.model.parameters())
        self.optimizer = optimizer(parameters)
        self.scheduler = None if scheduler is None else scheduler(self.optimizer)
        self.trainee = TorchTrainee(self.model, self.optimizer, self.scheduler)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        number = self.steps

        def closure() -> Any:
            self.optimizer.zero_grad()
            loss = (self.model(torch.tensor([number % 5, (number * 2) % 5])) - number).square().mean()
            loss.backward()
            return loss

        self.optimizer.step(closure)
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(abs(4 - number))
        elif self.scheduler is not None:
            self.scheduler.step()


def check(make: Callable[..., Trained], directory: Path) -> None:
    whole = make()
    with warnings.catch_warnings(action="ignore"):  # schedulers warn about their own state
        for step in range(6):
            own = directory / str(step)
            own.mkdir()
            assert whole.trainee.lacks("checkpoint") is None
            whole.trainee.write(whole.trainee.snapshot(), own)
            whole.step()
        for step in range(6):
            again = make(seed=1)
            again.trainee.restore(again.trainee.read(directory / str(step)))
            again.steps = step
            while again.steps < 6:
                again.step()
            assert equal(state_of(again.trainee), state_of(whole.trainee))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_continues(tmp_path: Path, name: str) -> None:
    """An optimizer continues from any step to the same weights and state."""
    check(functools.partial(Trained, OPTIMIZERS[name]), tmp_path)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_continues(tmp_path: Path, name: str) -> None:
    """A scheduler continues from any step to the same rates and state."""
    check(functools.partial(Trained, OPTIMIZERS["SGD with momentum"], SCHEDULERS[name]), tmp_path)


def test_a_counter_comes_back_as_one(tmp_path: Path) -> None:
    """The Counter of MultiStepLR's milestones is restored as a Counter."""
    trained = Trained(OPTIMIZERS["SGD"], SCHEDULERS["MultiStepLR"])
    trained.trainee.write(trained.trainee.snapshot(), tmp_path)
    trained.trainee.restore(trained.trainee.read(tmp_path))
    assert trained.scheduler is not None
    assert sorted(trained.scheduler.milestones.elements()) == [2, 4, 4]


def test_every_scheduler_is_tried() -> None:
    """All schedulers of torch.optim.lr_scheduler are tested."""
    assert {name for name in lr_scheduler.__all__ if name != "LRScheduler"} <= {name.split(" ")[0] for name in SCHEDULERS}
