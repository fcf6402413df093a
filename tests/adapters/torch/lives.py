"""Runs of every kind of loop for `TorchTrainee`, with their models, checkpoints and results.

`trains_whole` and `resumes_from_each` run in separate processes, with a directory for each kind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from hookcore import Run, store
from hookcore.testing import RecordingPlugin
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from hookcore import Resume

EPOCHS: Final = 3
BATCHES: Final = 5
SIZE: Final = 4
WIDTH: Final = 3

torch.set_num_threads(1)


class Noisy(Dataset):  # type: ignore[misc]  # Any if PyTorch is not installed
    """Samples with noise that is drawn when they are read, like augmentation."""

    def __init__(self, *, noise: float = 0.1, batches: int = BATCHES) -> None:
        self.x = torch.randn(batches * SIZE, WIDTH, generator=torch.Generator().manual_seed(7))
        self.noise = noise
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read.append(index)
        x = self.x[index]
        return x + self.noise * torch.randn(WIDTH) if self.noise else x, x.sum(dim=0, keepdim=True)


def loader(data: Any, **arguments: Any) -> Any:
    """Return a resumable loader of shuffled batches. The last batch is smaller."""
    return DataLoader(data, batch_size=SIZE, sampler=ResumableSampler(data, seed=5), **arguments)


class Bar:
    """A progress bar with the structure of tqdm's."""

    def __init__(self, iterable: Any) -> None:
        self.iterable = iterable

    def __iter__(self) -> Any:
        yield from self.iterable


def network() -> Any:
    return nn.Sequential(nn.Linear(WIDTH, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1))


def error_of(model: Any, batch: Any) -> Any:
    x, y = batch
    return ((model(x) - y) ** 2).mean()


@attrs.define(eq=False, kw_only=True)
class Life:
    """One run of a kind of training: its model, its data, and the body of its loop."""

    trainee: TorchTrainee
    data: Any
    step: Callable[..., Any]
    """A function of a batch and the run's progress, which trains and returns the loss."""
    accumulate: int = 1
    by_steps: int | None = None
    changes_rate: bool = True
    saves_epochs: bool = False
    """Whether ends of epochs are saved too, instead of their last batches."""

    def live(self, directory: Path, resume: Resume = None) -> tuple[Run, list[str]]:
        """Train, save each step, and return the run and its events as text."""
        recording = RecordingPlugin()
        rates = [ReduceLROnPlateau("val_loss", patience=0, min_delta=0.5, factor=0.5)] if self.changes_rate else []
        stopping = EarlyStopping("val_loss", patience=99, restore_best_weights=True)
        epochs = 1 if self.saves_epochs else None
        checkpoint = Checkpoint(directory, "val_loss", every_n_epochs=epochs, every_n_steps=1, keep_last=None)
        plugins = [recording, *rates, stopping, checkpoint]
        with Loop(plugins, epochs=EPOCHS, trainee=self.trainee, resume=resume) as loop:
            for _ in loop.epochs():
                for batch in loop.batches(self.data, accumulate=self.accumulate):
                    loop.log(loss=self.step(batch, loop.run.progress))
                    if self.by_steps is not None and loop.every(self.by_steps):
                        self.evaluate(loop)
                if self.by_steps is None:
                    self.evaluate(loop)
        left_out = {"on_train_begin", "on_train_end", "on_checkpoint"}
        return loop.run, [repr(event) for event in recording.events if event[0] not in left_out]

    def evaluate(self, loop: Loop) -> None:
        with loop.evaluation():
            weights = [tensor.float().abs().mean() for model in self.trainee._models.values() for tensor in model.parameters()]
            loop.log(loss=torch.stack(weights).mean())

    def left(self) -> str:
        """Return a digest of all results: weights, state and random numbers."""
        snapshot = self.trainee.snapshot()
        tensors = [*(tensor for named in snapshot.weights.values() for tensor in named.values()), *snapshot.rest.tensors]
        content = b"".join(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors)
        assert snapshot.random is not None
        return hashlib.sha256(content + repr((snapshot.rest.skeleton, snapshot.random.state_dict())).encode()).hexdigest()


def _plain() -> Life:
    """Make two groups of parameters, noisy data, dropout and batch normalization, with leftover gradients."""
    model = network()
    groups = [
        {"params": model[0].parameters(), "lr": 0.1},
        {"params": [*model[1].parameters(), *model[3].parameters()], "lr": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups)

    def step(batch: Any, *_: Any) -> Any:
        optimizer.zero_grad()
        loss = error_of(model, batch)
        loss.backward()
        optimizer.step()
        return loss

    return Life(trainee=TorchTrainee(model, optimizer), data=loader(Noisy()), step=step)


def _by_steps() -> Life:
    return attrs.evolve(_plain(), by_steps=2, saves_epochs=True)


def _read_by_workers() -> Life:
    return attrs.evolve(_plain(), data=loader(Noisy(noise=0.0), num_workers=2))


def _in_order() -> Life:
    """Make a loader without shuffling, so that trained batches are read again, with their noise."""
    return attrs.evolve(_plain(), data=DataLoader(Noisy(), batch_size=SIZE))


def _with_a_bar() -> Life:
    """Make a progress bar around the loader, which draws the workers' seed only at the first batch."""
    life = _plain()
    return attrs.evolve(life, data=Bar(life.data))


def _accelerated() -> Life:
    """Make everything wrapped by Accelerate, with a scheduler. It reads one batch ahead, so the data do not draw."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=2 * BATCHES)
    accelerator = Accelerator(cpu=True)
    model, optimizer, data, schedule = accelerator.prepare(model, optimizer, loader(Noisy(noise=0.0)), schedule)

    def step(batch: Any, *_: Any) -> Any:
        optimizer.zero_grad()
        loss = error_of(model, batch)
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        return loss

    return Life(trainee=TorchTrainee(model, optimizer, schedule), data=data, step=step, changes_rate=False)


def _accumulating() -> Life:
    """Make a step for every two batches, and one for the rest at the end of the epoch."""
    life = _plain()
    model, optimizer = life.trainee.model, life.trainee.optimizer

    def step(batch: Any, progress: Any) -> Any:
        loss = error_of(model, batch)
        (loss / 2).backward()
        number = progress.batch + 1
        if number % 2 == 0 or number == len(life.data):
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return attrs.evolve(life, step=step, accumulate=2)


def _accumulating_on_its_own() -> Life:
    """Make an update for every three batches, across epochs, without `accumulate`, so each batch counts as a step."""
    life = _plain()
    model, optimizer = life.trainee.model, life.trainee.optimizer

    def step(batch: Any, progress: Any) -> Any:
        loss = error_of(model, batch)
        loss.backward()
        if (progress.step + 1) % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return attrs.evolve(life, step=step)


def _scaled() -> Life:
    """Make a scheduler that steps with each batch, and a scaler whose scale changes."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=EPOCHS * BATCHES + 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=2)

    def step(batch: Any, progress: Any) -> Any:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = error_of(model, batch)
        scaled = scaler.scale(loss)
        (scaled * (float("inf") if progress.step == 6 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        return loss

    trainee = TorchTrainee(model, optimizer, scheduler, scaler)
    return Life(trainee=trainee, data=loader(Noisy()), step=step, changes_rate=False, saves_epochs=True)


def _adversarial() -> Life:
    """Make two networks with an optimizer each. One optimizer has a scheduler."""
    generator, critic = nn.Linear(2, WIDTH), network()
    optimizers = {"generator": torch.optim.Adam(generator.parameters(), 0.1), "critic": torch.optim.RMSprop(critic.parameters())}
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizers["critic"], [2, 2, 7])

    def step(batch: Any, *_: Any) -> Any:
        x, _ = batch
        made = generator(torch.randn(len(x), 2))
        loss = (critic(made.detach()) - critic(x)).mean()
        optimizers["critic"].zero_grad()
        loss.backward()
        optimizers["critic"].step()
        scheduler.step()
        optimizers["generator"].zero_grad()
        (-critic(made)).mean().backward()
        optimizers["generator"].step()
        return loss

    trainee = TorchTrainee({"generator": generator, "critic": critic}, optimizers, {"critic": scheduler})
    return Life(trainee=trainee, data=loader(Noisy()), step=step, changes_rate=False)


def _averaged() -> Life:
    """Make a moving average of the weights, as a second model."""
    model = network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.NAdam(model.parameters(), 0.05)

    def step(batch: Any, *_: Any) -> Any:
        optimizer.zero_grad()
        loss = error_of(model, batch)
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        return loss

    return Life(trainee=TorchTrainee({"model": model, "average": average}, optimizer), data=loader(Noisy()), step=step)


def _compiled() -> Life:
    """Make a compiled model in bfloat16, with tied first and last layers."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH, bias=False), nn.Dropout(0.2))
    model[2].weight = model[0].weight
    model.to(torch.bfloat16)
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.Adam(model.parameters(), 0.05)

    def step(batch: Any, *_: Any) -> Any:
        optimizer.zero_grad()
        loss = error_of(compiled, [part.bfloat16() for part in batch])
        loss.backward()
        optimizer.step()
        return loss

    return Life(trainee=TorchTrainee(compiled, optimizer), data=loader(Noisy()), step=step)


KINDS: Final[dict[str, Callable[[], Life]]] = {
    "plain": _plain,
    "by steps": _by_steps,
    "read by workers": _read_by_workers,
    "in order": _in_order,
    "with a bar": _with_a_bar,
    "accelerated": _accelerated,
    "accumulating": _accumulating,
    "accumulating on its own": _accumulating_on_its_own,
    "scaled": _scaled,
    "adversarial": _adversarial,
    "averaged": _averaged,
    "compiled": _compiled,
}


def born(kind: str, seed: int) -> Life:
    """Return a new run of a kind, with new weights."""
    torch.manual_seed(seed)
    return KINDS[kind]()


def _told(life: Life, directory: Path, resume: Resume = None) -> dict[str, Any]:
    run, events = life.live(directory, resume)
    return {
        "events": events,
        "left": life.left(),
        "history": repr(run.history.state_dict()),
        "decisions": repr(run.decisions),
        "progress": repr(run.progress),
    }


def trains_whole(kinds: list[str]) -> None:
    """Train each kind without interruption."""
    for kind in kinds:
        told = _told(born(kind, 3), Path(kind, "saved"))
        Path(kind, "whole.json").write_text(json.dumps(told))


def resumes_from_each(kinds: list[str]) -> None:
    """Resume each kind from each of its checkpoints, with other initial weights and random numbers."""
    for kind in kinds:
        told = [
            (saved.path.name, _told(born(kind, 99), Path(kind, "again", str(number)), resume=saved.path))
            for number, saved in enumerate(store.available(Path(kind, "saved")))
        ]
        Path(kind, "resumed.json").write_text(json.dumps(told))
