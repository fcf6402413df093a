"""The digits demo with Lightning."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


@attrs.frozen
class LightningTask:
    """A `LightningModule` with its data loaders."""

    module: Any
    data: Any
    validation_data: Any
    epochs: int
    plugins: Sequence[object]
    validation: str = "val_"
    file: str = "model.safetensors"
    loader: str = "safetensors.torch.load_file"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by `Trainer.fit`, with the adapter as its only callback."""
        from hookcore_adapters.lightning import LightningAdapter

        with _quiet():
            _trainer(max_epochs=epochs, callbacks=[LightningAdapter(engine)]).fit(self.module, self.data, self.validation_data)

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and validate it."""
        from safetensors.torch import load_file

        loaded = type(self.module)()
        loaded.load_state_dict(load_file(checkpoint / self.file))
        with _quiet():
            found = _trainer().validate(loaded, self.validation_data, verbose=False)[0]
        return {name.removeprefix(self.validation): value for name, value in found.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's advice to use more workers, which data in memory does not need, and its deprecated calls of PyTorch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        yield


def _trainer(**arguments: Any) -> Any:
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # hides advertisements
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        **arguments,
    )


def _module() -> Any:
    import lightning
    import torch

    from hookcore_adapters.demo.torch_digits import network

    class LitDigits(lightning.LightningModule):  # type: ignore[misc]  # mypy skips Lightning
        """The network with its training."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Any, _: int) -> Any:
            """Return the loss of a batch."""
            return self._loss(batch, "")

        def validation_step(self, batch: Any, _: int) -> None:
            """Log the metrics of a batch."""
            self._loss(batch, "val_")

        def _loss(self, batch: Any, prefix: str) -> Any:
            images, labels = batch
            scores = self.network(images)
            loss = torch.nn.functional.cross_entropy(scores, labels)
            accuracy = (scores.argmax(-1) == labels).float().mean()
            self.log_dict({f"{prefix}loss": loss, f"{prefix}accuracy": accuracy}, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self) -> Any:
            """Return Adam."""
            return torch.optim.Adam(self.parameters(), digits.LEARNING_RATE)

    return LitDigits()


def prepare() -> LightningTask:
    """Return the task."""
    click.echo(f"Loading Lightning and {digits.DESCRIBED} ...")
    with loading("'hookcore[lightning]' scikit-learn"):
        import lightning
        import torch

        import hookcore_adapters.lightning  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    from hookcore_adapters.demo.torch_digits import dataset
    from hookcore_adapters.torch import ResumableSampler

    lightning.seed_everything(1, verbose=False)
    data = dataset(train)
    return LightningTask(
        _module(),
        torch.utils.data.DataLoader(data, digits.BATCH_SIZE, sampler=ResumableSampler(data, seed=1)),
        torch.utils.data.DataLoader(dataset(held_out), digits.BATCH_SIZE),
        digits.EPOCHS,
        digits.plugins(),
    )
