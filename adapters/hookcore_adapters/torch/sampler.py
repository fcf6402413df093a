"""A sampler that shuffles by seed and epoch, so that an epoch can start at any sample."""

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
"""2**64 divided by the golden ratio, so that neighbouring seeds do not share the order of an epoch."""


class ResumableSampler(torch.utils.data.Sampler[int]):  # type: ignore[misc]  # Any if PyTorch is not installed
    """Yields the index of each sample of `data`, in an order that depends only on `seed` and the epoch.

        loader = DataLoader(data, batch_size=32, sampler=ResumableSampler(data, seed=0))

    In `Loop` with `TorchTrainee`, such a loader starts a resumed epoch at its first untrained batch, with any number of workers.
    It does not read the batches before, except the last of them if the loader is in a progress bar or is Accelerate's. In other
    loops, call `set_epoch` before each epoch, and `begin_at` in an epoch that was interrupted.

    * `data`: the data set of the loader, or anything else with a length.
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
        """Set the epoch whose order the next iterations yield."""
        self._epoch = operator.index(epoch)

    def begin_at(self, sample: int) -> None:
        """Make the next iteration, and only that one, skip the first `sample` samples."""
        self._begin = checked_integer(self, "sample", sample, at_least=0)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        begin, self._begin = self._begin, 0
        if not self._shuffle:
            return iter(range(begin, self._length))
        self._iterations += 1
        if self._iterations == 2 and self._epoch is None:  # noqa: PLR2004 - the second repeats the first's order
            logger.warning(
                "ResumableSampler does not know the epoch, so each epoch has the same order. Give Loop.batches the DataLoader "
                "itself, not enumerate(loader) or the like, and Loop a TorchTrainee; or call set_epoch before each epoch"
            )
        return shuffled(self._length, self._seed * _STRIDE + (self._epoch or 0), begin)
