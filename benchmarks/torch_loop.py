"""Measure what `Loop` and `TorchTrainee` cost a PyTorch loop: per batch, per save, and to resume in the middle of an epoch.

The step is that of the perceptron with which *Deep Learning with Python* begins (784, 512 and 10 units, 128 digits in a
batch), and of a smaller one, on one thread. The loss is logged, and NaNGuard reads it at every step. The bare loop drops it,
and is in each table of steps twice: how far the second is from 1 is noise. A save is of a stack of layers with Adam. Its floor
is a copy of the same tensors into memory that is already allocated, and its peer is `torch.save` of the state dicts, which is
not hashed, and which is synced only in a separate row. The stall is the time that a save takes on the training thread. The
data for resuming are a million samples, in batches of one; it is checked that no batch before the resumed one is read.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import click
import torch
from torch.utils.data import DataLoader, Dataset

from hookcore import Engine
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, NaNGuard, TimeLimit
from saves import Saves
from side_by_side import Gate, Table, benchmark, measure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS: Final = 500
SAMPLES: Final = 1_000_000
OF_THE_BOOK, SMALLER = (128, 784, 512), (64, 64, 256, 256)
"""The samples in a batch, the inputs, and the units of each hidden layer."""
BARE, AGAIN, OURS = "bare loop", "bare loop again", "Loop, 4 plugins"
COPY, STALL, DURABLE = "memory copy", "Checkpoint: stall", "Checkpoint: until durable"
SAVE, SYNCED = "torch.save", "torch.save, synced"
SHORT: Final = "The hooks, the mean of the loss and the look for NaN take some 20 us, which such a short step shows."
LIMIT: Final = "A durable checkpoint is also hashed and synced; torch.save's file is not."


def perceptron(samples: int, inputs: int, *hidden: int) -> tuple[Any, Any, Callable[[], Any]]:
    """Return a classifier of ten classes, its optimizer, and a function that trains one step and returns the loss."""
    torch.manual_seed(0)
    layers = [part for sizes in itertools.pairwise((inputs, *hidden)) for part in (torch.nn.Linear(*sizes), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(hidden[-1], 10))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(samples, inputs), torch.randint(10, (samples,))

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, optimizer, step


def per_step(*sizes: int) -> dict[str, Callable[[], float]]:
    """Return the ways to train a perceptron of these sizes, each of which returns the seconds of a step."""
    model, optimizer, step = perceptron(*sizes)

    def bare() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        return (time.perf_counter() - began) / STEPS

    def ours() -> float:
        with tempfile.TemporaryDirectory() as directory:
            plugins = [
                EarlyStopping("loss"),
                NaNGuard("loss"),
                TimeLimit(3600),
                Checkpoint(directory, "loss", every_n_epochs=None),
            ]
            with Loop(Engine(plugins, autoload=False), epochs=1, trainee=TorchTrainee(model, optimizer)) as loop:
                for _ in loop.epochs():
                    began = time.perf_counter()
                    for _ in loop.batches(range(STEPS)):
                        loop.log(loss=step())
                    taken = time.perf_counter() - began
        return taken / STEPS

    return {BARE: bare, AGAIN: bare, OURS: ours}


def per_save(megabytes: float, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way to save, by round, with `megabytes` of weights, and twice as many of Adam's."""
    width = round((megabytes * 1e6 / 4 / 4) ** 0.5)
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False) for _ in range(4)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, width)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    states = [*model.state_dict().values(), *(value for state in optimizer.state.values() for value in state.values())]
    copies = [tensor.clone() for tensor in states]

    def copy() -> None:
        for copied, tensor in zip(copies, states, strict=True):
            copied.copy_(tensor)

    with tempfile.TemporaryDirectory() as name:
        path, saves = Path(name, "state.pt"), Saves(TorchTrainee(model, optimizer), Path(name, "checkpoints"))

        def save() -> None:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)

        def save_synced() -> None:
            save()
            with path.open("rb") as file:
                os.fsync(file.fileno())

        def stall() -> float:
            taken = seconds(saves.begin)
            saves.finish()
            return taken

        def durable() -> None:
            saves.begin()
            saves.finish()

        def quiet(sample: Callable[[], float]) -> Callable[[], float]:
            def call() -> float:
                gc.collect()
                os.sync()
                return sample()

            return call

        timed = {COPY: copy, SAVE: save, SYNCED: save_synced, DURABLE: durable}
        ways: dict[str, Callable[[], float]] = {name: functools.partial(seconds, call) for name, call in timed.items()}
        ways[STALL] = stall
        figures = measure({name: quiet(way) for name, way in ways.items()}, rounds)
        saves.end()
    return figures


class Counting(Dataset[int]):  # type: ignore[misc]  # mypy skips PyTorch, so that it gives the same result if PyTorch is not installed
    """A million samples, and how many of them were read."""

    read = 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, number: int) -> int:
        self.read += 1
        return number


def resumed() -> float:
    """Return the seconds from the beginning of an epoch that was cut before its last batch until that batch has been read."""
    data = Counting()
    loader = DataLoader(data, batch_size=1, sampler=ResumableSampler(data))
    trainee = TorchTrainee(*perceptron(*SMALLER)[:2])

    def first() -> None:
        trainee.begin_data(loader, 3, SAMPLES - 1)
        next(iter(loader))

    taken = seconds(first)
    assert data.read == 1, f"{data.read} samples were read"  # noqa: S101 - the check
    return taken


@benchmark
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=2))
@click.option("--sizes", default="50,400", show_default=True, help="Megabytes of weights, separated by commas.")
def main(rounds: int, sizes: str) -> Iterator[Table | Gate]:
    """Print what a PyTorch loop pays."""
    torch.set_num_threads(1)
    for what, layers in {"a perceptron": OF_THE_BOOK, "a smaller perceptron": SMALLER}.items():
        steps = Table(f"one step of {what}", "us", measure(per_step(*layers), rounds), BARE, OURS)
        yield steps
        yield Gate(f"Loop with 4 plugins: added time, x a step of {what}", steps.ratio(OURS, BARE)[1] - 1, 0.02, SHORT, room=10)
    for megabytes in map(float, sizes.split(",")):
        table = Table(f"{megabytes:g} MB of weights, Adam: a save", "ms", per_save(megabytes, rounds), COPY, DURABLE)
        yield table
        yield Gate(f"{megabytes:g} MB: stall, x memory copy", table.ratio(STALL, COPY)[1], 1.5)
        yield Gate(f"{megabytes:g} MB: until durable, x torch.save", table.ratio(DURABLE, SAVE)[1], 1.3, LIMIT, room=3)
    data = Table("an epoch that was interrupted after 999,999 batches", "s", measure({"first batch": resumed}, rounds))
    yield data
    yield Gate("seconds until the first batch of that epoch", max(data.figures["first batch"]), 1.0, room=5)


if __name__ == "__main__":
    main()
