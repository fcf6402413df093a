"""A metric that is a tensor is read from its device only when a plugin reads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from hookcore import hookimpl
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import TorchTrainee
from hookcore_plugins import CSVLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore import Metrics


class Reads(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]  # Any if PyTorch is not installed
    """Counts operations that would wait for a device: reading a tensor's value, and copying it to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default, torch.ops.aten.nonzero.default):
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def reads() -> Iterator[Reads]:
    with Reads() as mode:
        yield mode


def train(reads: Reads, *plugins: object, epochs: int = 2) -> list[int]:
    """Train for two epochs of five batches, and return the number of values that were read after each batch."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    counts = []
    with Loop(plugins, epochs=epochs, trainee=TorchTrainee(model, optimizer)) as loop:
        for _ in loop.epochs():
            for x in loop.batches(torch.randn(5, 4, 3)):
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss, twice=2 * loss)
                counts.append(reads.count)
            with loop.evaluation():
                for x in loop.batches(torch.randn(2, 4, 3)):
                    loop.log(loss=model(x).square().mean())
    return counts


def test_batches_read_nothing(reads: Reads) -> None:
    """No logged value is read until the epoch ends; then one value is read for each metric."""
    counts = train(reads)
    assert counts == [0] * 5 + [3] * 5
    assert reads.count == 6


def test_a_plugin_reads_what_it_reads(reads: Reads) -> None:
    """A plugin that reads one of two metrics in each batch costs one read per batch."""

    def look(metrics: Metrics) -> None:
        assert metrics["loss"] >= 0

    counts = train(reads, SimpleNamespace(name="looks", on_batch_end=hookimpl(look)))
    assert counts[:5] == [0, 1, 2, 3, 4]


def test_a_log_of_epochs_reads_nothing_within_one(reads: Reads, tmp_path: Path) -> None:
    """A shipped logger of epochs reads nothing within an epoch."""
    assert train(reads, CSVLog(tmp_path / "log.csv"))[:5] == [0] * 5


def test_a_tensor_that_is_logged_keeps_no_graph() -> None:
    """A logged tensor does not keep its graph in memory."""
    model = nn.Linear(2, 1)
    with Loop(epochs=1, trainee=TorchTrainee(model, torch.optim.SGD(model.parameters()))) as loop:
        for _ in loop.epochs():
            for x in loop.batches(torch.randn(3, 2, 2)):
                loop.log(loss=model(x).sum())
            means: Any = loop._epoch
            total, count = means._fresh.sums["loss"]
            assert count == 3
            assert not total.requires_grad
