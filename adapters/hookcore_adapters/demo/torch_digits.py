"""The digits demo with PyTorch, in `Loop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


def network() -> Any:
    """Return the network of Keras's demo, without its last activation, which is part of the loss."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding="same"),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64, 10),
    )


def dataset(of: digits.Digits) -> Any:
    """Return `of` as a PyTorch data set of images with one channel, and labels."""
    import torch

    return torch.utils.data.TensorDataset(torch.as_tensor(of.images[:, None]), torch.as_tensor(of.labels))


@attrs.frozen
class TorchTask:
    """A module with its optimizer and data loaders."""

    model: Any
    optimizer: Any
    data: Any
    validation_data: Any
    epochs: int
    plugins: Sequence[object]
    validation: str = "val_"
    file: str = "model.safetensors"
    loader: str = "safetensors.torch.load_file"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train in `Loop`."""
        from torch.nn.functional import cross_entropy

        from hookcore_adapters.loop import Loop
        from hookcore_adapters.torch import TorchTrainee

        trainee = TorchTrainee(self.model, self.optimizer)
        with Loop(engine, epochs=epochs, steps_per_epoch=len(self.data), trainee=trainee, model=self.model) as loop:
            for _ in loop.epochs():
                self.model.train()
                for images, labels in loop.batches(self.data):
                    self.optimizer.zero_grad()
                    scores = self.model(images)
                    loss = cross_entropy(scores, labels)
                    loss.backward()
                    self.optimizer.step()
                    loop.log(loss=loss.detach(), accuracy=(scores.argmax(-1) == labels).float().mean())
                with loop.evaluation():
                    loop.log(self._evaluate(self.model))

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        from safetensors.torch import load_file

        loaded = network()
        loaded.load_state_dict(load_file(checkpoint / self.file))
        return self._evaluate(loaded)

    def _evaluate(self, model: Any) -> Mapping[str, float]:
        import torch

        model.eval()
        images, labels = self.validation_data
        with torch.no_grad():
            scores = model(images)
        loss = float(torch.nn.functional.cross_entropy(scores, labels))
        return {"loss": loss, "accuracy": float((scores.argmax(-1) == labels).float().mean())}


def prepare() -> TorchTask:
    """Return the task."""
    click.echo(f"Loading PyTorch and {digits.DESCRIBED} ...")
    with loading("'hookcore[torch]' scikit-learn"):
        import torch

        import hookcore_adapters.torch  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    from hookcore_adapters.torch import ResumableSampler

    torch.manual_seed(1)
    model, data = network(), dataset(train)
    return TorchTask(
        model,
        torch.optim.Adam(model.parameters(), digits.LEARNING_RATE),
        torch.utils.data.DataLoader(data, digits.BATCH_SIZE, sampler=ResumableSampler(data, seed=1)),
        dataset(held_out)[:],
        digits.EPOCHS,
        digits.plugins(),
    )
