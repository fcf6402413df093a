"""The harness of `LightningAdapter`: a small regression, in a `Trainer`."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

from hookcore.testing import Feature, Harness, Job, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.lightning import LightningAdapter
from hookcore_adapters.torch import ResumableSampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(pl.LightningModule):  # type: ignore[misc]
    """Fits `y = W x + b` with dropout, so that the random state matters."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.scenario = job, job.scenario
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            self.layer = torch.nn.Linear(3, 1)
        if self.scenario.scalar:
            self.scale = torch.nn.Parameter(torch.tensor(1.0))
        if self.scenario.bfloat16:
            self.shift = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        y = y * self.scale if self.scenario.scalar else y
        return y + self.shift.float() if self.scenario.bfloat16 else y

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.job.trains()
        x, y = batch
        return torch.nn.functional.mse_loss(self(torch.nn.functional.dropout(x, 0.25)), y)

    def on_train_epoch_end(self) -> None:
        self.log("score", self.job.report("score"))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if batch_idx == 0:
            number = dataloader_idx + 1
            name = "val_score" if number == 1 else f"val_score_{number}"
            self.log(name, self.job.report(name), add_dataloader_idx=False)

    def configure_optimizers(self) -> Any:
        scenario = self.scenario
        rate = scenario.learning_rate or 0.125
        parameters = list(self.parameters())
        groups = (
            [{"params": [one], "lr": own} for one, own in zip(parameters, scenario.groups, strict=True)]
            if scenario.groups
            else parameters
        )
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9)
        if scenario.schedule:
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]
        return optimizer


class StopAfter(pl.Callback):  # type: ignore[misc]
    """Stops training, without being a plugin."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


def data(seed: int, batches: int) -> TensorDataset:
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * batches, 3, generator=numbers)
    return TensorDataset(x, x.sum(1, keepdim=True))


class LightningHarness(Harness):
    """Trains a `Model` in a `Trainer`."""

    name = "lightning"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.NO_LEARNING_RATE: "every optimizer of PyTorch has a rate",
        Feature.STOPPED_WITHIN_EPOCH: "a trainer that was asked to stop does not enter the epoch again, so the epoch never ends",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {
        Feature.SCHEDULE: "the optimizer's learning rate comes from a scheduler",
    }
    interrupts: ClassVar[tuple[type[BaseException], ...]] = (SystemExit,)

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        self.job = job
        self.model = Model(job)
        self.adapter = LightningAdapter(job.plugins, resume=job.resume)

    def trainer(self) -> pl.Trainer:
        scenario = self.job.scenario
        callbacks: list[Any] = [self.adapter]
        if scenario.own_checkpoints:
            own = ModelCheckpoint(self.job.directory, filename="{epoch}-{step}", save_top_k=-1, every_n_epochs=1)
            callbacks.insert(0 if scenario.own_checkpoints == "before" else 1, own)
        if scenario.own_stop_after is not None:
            callbacks.append(StopAfter(scenario.own_stop_after))
        by_steps = scenario.evaluate_every_steps
        return pl.Trainer(
            max_epochs=scenario.epochs,
            min_epochs=scenario.min_epochs,
            accelerator="cpu",
            devices=1,
            accumulate_grad_batches=scenario.accumulate,
            check_val_every_n_epoch=None if by_steps else scenario.evaluate_every_epochs,
            val_check_interval=by_steps * scenario.accumulate if by_steps else 1.0,
            limit_val_batches=1.0 if by_steps or scenario.evaluate_every_epochs else 0,
            num_sanity_val_steps=2 if scenario.sanity_check else 0,
            callbacks=callbacks,
            enable_checkpointing=bool(scenario.own_checkpoints),
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            default_root_dir=self.job.directory,
        )

    def train(self) -> None:
        scenario = self.job.scenario
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = self.trainer()
            torch.manual_seed(SEED)
            samples = data(SEED, scenario.batches)
            train = DataLoader(samples, batch_size=2, sampler=ResumableSampler(samples, seed=SEED))
            sets = [DataLoader(data(SEED + 1, scenario.evaluation_batches), batch_size=2) for _ in range(scenario.sets)]
            trainer.fit(self.model, train, sets if len(sets) > 1 else sets[0], ckpt_path=self.job.own_checkpoint)

    def digest(self) -> str:
        arrays = {name: value.detach().float().numpy() for name, value in self.model.state_dict().items()}
        optimizer = self.model.trainer.optimizers[0]
        for number, state in optimizer.state_dict()["state"].items():
            arrays |= {f"{number}/{name}": value.float().numpy() for name, value in state.items() if torch.is_tensor(value)}
        return digest_of(arrays)

    def updates(self) -> int:
        return int(self.model.trainer.global_step)

    def rates(self) -> Sequence[float]:
        return [group["lr"] for group in self.model.trainer.optimizers[0].param_groups]

    def predict(self) -> str:
        return digest_of({"y": self.model(torch.ones(4, 3)).detach().numpy()})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        layer = torch.nn.Linear(3, 1)
        layer.load_state_dict(
            {name.removeprefix("layer."): value for name, value in load_file(checkpoint / "model.safetensors").items()}
        )
        return digest_of({"y": layer(torch.ones(4, 3)).detach().numpy()})

    def own_checkpoints(self) -> Sequence[Path]:
        return sorted(self.job.directory.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
