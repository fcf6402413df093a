"""Measure what callbacks cost per batch inside Lightning's real loop.

Each figure comes from a real `trainer.fit` with one layer and batches of one sample, on one thread. Hooks of the module note
the time: from right before the callbacks for a batch's beginning until right after them, and from the end of the optimizer's
step until after the callbacks for the batch's end. Lightning's own bookkeeping in between is the same in all rows, and the
first row has nothing else. A figure is the fastest tenth of the last 300 batches, because other work on a shared machine can
only make batches slower. Measurements begin after the first batches, all of which hookcore times itself.

Both sets of four do the same jobs: stop early, save the best, end after a while, and log the metrics with the learning rate.
Lightning's logger is in all rows, and writes outside of what is measured. The counting ones count the ends of batches; that
they miss none is checked.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import click
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from hookcore.timing import FIRST_WINDOW
from hookcore_adapters.lightning import LightningAdapter
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, TimeLimit
from side_by_side import Counter, Gate, Table, benchmark, engine_of, gates_of_added, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEASURED: Final = 300
BATCHES: Final = FIRST_WINDOW + MEASURED
FLOOR, AGAIN = "no callbacks", "no callbacks again"
THEIRS, OURS = "4 of Lightning's callbacks", "LightningAdapter, the same 4 jobs"
COUNTING, COUNTERS = "4 counting callbacks", "LightningAdapter, 4 counting plugins"
GATES: Final = {(OURS, THEIRS): 0.6, (COUNTERS, COUNTING): 1.0}
"""What the first of each pair may add to a batch, as a multiple of what the second adds."""


class Timed(pl.LightningModule):  # type: ignore[misc]  # mypy skips Lightning, so that it gives the same result if Lightning is not installed
    """A module whose batches are almost pure overhead, and which notes the time around its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seconds: list[float] = []
        self.since = 0.0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Start the timer for a batch's beginning."""
        del dataloader_idx
        self.since = time.perf_counter()
        return batch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Note how long the beginning took."""
        del batch, batch_idx
        self.seconds.append(time.perf_counter() - self.since)

    def training_step(self, batch: Any) -> Any:
        """Train."""
        loss = self.layer(batch[0]).sum()
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=1)
        return loss

    def optimizer_step(self, *given: Any, **named: Any) -> None:
        """Update, then start the timer for the batch's end."""
        super().optimizer_step(*given, **named)
        self.since = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add how long the end took."""
        del outputs, batch, batch_idx
        self.seconds[-1] += time.perf_counter() - self.since

    def configure_optimizers(self) -> Any:
        """Return an optimizer."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class CountingCallback(pl.Callback):  # type: ignore[misc]  # the same
    """Counts the ends of batches, as `Counter` does, as a callback."""

    n = 0

    def on_train_batch_end(self, *_: Any) -> None:
        """Count."""
        self.n += 1


def by_lightning(directory: Path) -> Sequence[Any]:
    """Return Lightning's callbacks for four jobs."""
    return [
        LightningEarlyStopping("loss", patience=3),
        ModelCheckpoint(directory, monitor="loss"),
        Timer("00:12:00:00", verbose=False),
        LearningRateMonitor(),
    ]


def by_hookcore(directory: Path) -> Sequence[Any]:
    """Return the adapter with plugins for the same jobs."""
    plugins = [
        EarlyStopping("loss", patience=3),
        Checkpoint(directory / "ours", monitor="loss", save_best_only=True),
        TimeLimit(12 * 3600),
        CSVLog(directory / "log.csv"),
    ]
    return [LightningAdapter(plugins)]


def of_one_fit(callbacks: Sequence[Any], directory: Path) -> float:
    """Return the seconds of one batch."""
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=CSVLogger(directory),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Timed()
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(BATCHES, 1))))
    return statistics.quantiles(module.seconds[-MEASURED:], n=10)[0]


def ways(directory: Path) -> dict[str, Callable[[], float]]:
    """Return all candidates, which raise `AssertionError` if a listener missed a batch."""

    def counting() -> float:
        callbacks = [CountingCallback() for _ in range(4)]
        seconds = of_one_fit(callbacks, directory)
        assert {callback.n for callback in callbacks} == {BATCHES}  # noqa: S101 - the check
        return seconds

    def counters() -> float:
        plugins = [Counter() for _ in range(4)]
        seconds = of_one_fit([LightningAdapter(engine_of(plugins))], directory)
        assert {plugin.n for plugin in plugins} == {BATCHES}  # noqa: S101 - the check
        return seconds

    return {
        FLOOR: lambda: of_one_fit([], directory),
        AGAIN: lambda: of_one_fit([], directory),
        THEIRS: lambda: of_one_fit(by_lightning(directory), directory),
        OURS: lambda: of_one_fit(by_hookcore(directory), directory),
        COUNTING: counting,
        COUNTERS: counters,
    }


@benchmark
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what callbacks cost per batch."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(ways(Path(directory)), rounds)
    yield Table("callbacks of one batch in Lightning", "us", figures, floor=FLOOR, ours=OURS)
    yield from gates_of_added(figures, FLOOR, GATES)


if __name__ == "__main__":
    main()
