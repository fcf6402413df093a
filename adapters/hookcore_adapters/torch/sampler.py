"""A sampler that shuffles by seed and epoch, so that an epoch can begin anywhere."""

from __future__ import annotations

import logging
import operator
from typing import TYPE_CHECKING, Any, Final

import torch

from hookcore.validators import checked_integer
from hookcore_adapters.torch.orders import shuffled

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("hookcore")

_STRIDE: Final = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: neighbouring seeds share no epoch's order."""


class ResumableSampler(torch.utils.data.Sampler[int]):  # type: ignore[misc]  # it is Any to a checker without PyTorch
    """The numbers of all samples of `data`, in an order that follows from `seed` and the epoch alone.

        loader = DataLoader(data, batch_size=32, sampler=ResumableSampler(data, seed=0))

    In `Loop` with `TorchTrainee`, such a loader yields in a resumed epoch the batches that are left, with any number of workers,
    and reads nothing of those before; within a progress bar, or as one of Accelerate's, the last of those before. Elsewhere call
    `set_epoch` before each epoch, and `begin_at` in one that was cut.

    * `data`: what has a length, such as the data set of the loader.
    * `shuffle`: False keeps the data's own order.
    """

    def __init__(self, data: Any, *, seed: int = 0, shuffle: bool = True) -> None:
        self._length = len(data)
        self._seed = checked_integer(self, "seed", seed, at_least=0)
        self._shuffle = shuffle
        self._epoch: int | None = None
        self._begin = 0
        self._iterations = 0

    def set_epoch(self, epoch: int) -> None:
        """Have the next iterations yield the order of `epoch`."""
        self._epoch = operator.index(epoch)

    def begin_at(self, sample: int) -> None:
        """Have the next iteration, and only that, begin after the first `sample` of the order."""
        self._begin = checked_integer(self, "sample", sample, at_least=0)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        begin, self._begin = self._begin, 0
        if not self._shuffle:
            return iter(range(begin, self._length))
        self._iterations += 1
        if self._iterations == 2 and self._epoch is None:  # noqa: PLR2004 - the second has the order of the first
            logger.warning(
                "ResumableSampler is not told of epochs, so each has the same order. Give Loop.batches the DataLoader itself, "
                "not enumerate(loader) or the like, and Loop a TorchTrainee; or call set_epoch before each epoch"
            )
        return shuffled(self._length, self._seed * _STRIDE + (self._epoch or 0), begin)
