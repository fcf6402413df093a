"""The harness of `Loop` with `TorchTrainee`: a small regression in a hand-written loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hookcore.testing import Feature, Harness, Job, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from tests.adapters.loop_harness import LoopHarness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Model(nn.Module):  # type: ignore[misc]  # Any if PyTorch is not installed
    """Fits `y = W x + b` with dropout, so that the random state matters."""

    def __init__(self, *, scalar: bool, bfloat16: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        if scalar:
            self.scale = nn.Parameter(torch.tensor(1.0))
        if bfloat16:
            self.shift = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(nn.functional.dropout(x, 0.25, self.training))
        y = y * self.scale if hasattr(self, "scale") else y
        return y + self.shift.float() if hasattr(self, "shift") else y


class TorchHarness(Harness):
    """Trains a `Model` in a `Loop` that reads shuffled batches from a loader."""

    name = "loop-torch"
    lacks: ClassVar[Mapping[Feature, str]] = {
        **{
            feature: reason
            for feature, reason in LoopHarness.lacks.items()
            if feature
            not in {Feature.RATE_GROUPS, Feature.SCHEDULE, Feature.SCALAR_WEIGHTS, Feature.BFLOAT16, Feature.OWN_LOADER}
        },
        Feature.NO_LEARNING_RATE: "every optimizer of PyTorch has a rate",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "the optimizer's learning rate comes from a scheduler"}

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        self.job = job
        scenario = job.scenario
        self.model = Model(scalar=scenario.scalar, bfloat16=scenario.bfloat16)
        parameters = list(self.model.parameters())
        groups: Any = [{"params": [one], "lr": own} for one, own in zip(parameters, scenario.groups, strict=False)]
        self.optimizer = torch.optim.SGD(groups or parameters, lr=scenario.learning_rate or 0.125, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1) if scenario.schedule else None
        self.made_updates = 0

    def train(self) -> None:
        job, scenario = self.job, self.job.scenario
        x = torch.randn(2 * scenario.batches, 3, generator=torch.Generator().manual_seed(SEED))
        data = TensorDataset(x, x.sum(1, keepdim=True))
        loader = DataLoader(data, batch_size=2, sampler=ResumableSampler(data, seed=SEED))
        trainee = TorchTrainee(self.model, self.optimizer, self.scheduler)
        given: dict[str, Any] = {"trainee": trainee, "validation_data": x, "resume": job.resume}
        with Loop(job.plugins, epochs=scenario.epochs, **given) as loop:
            self.made_updates = loop.run.progress.step
            for epoch in loop.epochs():
                self.model.train()
                for inputs, targets in loop.batches(loader, accumulate=scenario.accumulate):
                    loss = nn.functional.mse_loss(self.model(inputs), targets)
                    loss.backward()
                    loop.log(loss=loss)
                    job.trains()
                    number = loop.run.progress.batch + 1
                    if number % scenario.accumulate == 0 or number == scenario.batches:
                        self.update()
                    if scenario.evaluate_every_steps is not None and loop.every(scenario.evaluate_every_steps):
                        self.evaluate(loop)
                if self.scheduler is not None:
                    self.scheduler.step()
                loop.log(score=job.report("score"))
                every = scenario.evaluate_every_epochs
                if scenario.evaluate_every_steps is None and every is not None and (epoch + 1) % every == 0:
                    self.evaluate(loop)

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.made_updates += 1

    def evaluate(self, loop: Loop) -> None:
        self.model.eval()
        for number in range(1, self.job.scenario.sets + 1):
            with loop.evaluation("val_" if number == 1 else f"val_{number}_"), torch.no_grad():
                for x in loop.batches(torch.ones(self.job.scenario.evaluation_batches, 2, 3)):
                    loop.log(loss=self.model(x).square().mean())
                loop.log(score=self.job.report("val_score" if number == 1 else f"val_score_{number}"))
        self.model.train()

    def digest(self) -> str:
        arrays = {name: value.detach().float().numpy() for name, value in self.model.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            arrays |= {f"{number}/{name}": value.float().numpy() for name, value in state.items() if torch.is_tensor(value)}
        return digest_of(arrays)

    def updates(self) -> int:
        return self.made_updates

    def rates(self) -> Sequence[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def predict(self) -> str:
        return digest_of({"y": self.model.eval()(torch.ones(4, 3)).detach().numpy()})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        model = Model(scalar=False, bfloat16=False)
        model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        return digest_of({"y": model.eval()(torch.ones(4, 3)).detach().numpy()})
