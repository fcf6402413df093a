"""The samples of each batch, in an order that depends only on a seed and the epoch, so that an epoch can begin at any batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from hookcore.authoring import validators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@attrs.define(eq=False)
class Batches:
    """Yield the indices of the samples of each batch, as arrays of integers, for `Loop.batches` with a `SklearnTrainee`.

        for rows in loop.batches(Batches(len(x), 32)):
            estimator.partial_fit(x[rows], y[rows])

    * `samples`: the number of samples. `batch_size`: the number in a batch; the last batch of an epoch may have fewer.
    * `shuffle`: False keeps the order of the data. `seed`: the order of an epoch depends only on this and the number of the
      epoch.

    A resumed epoch continues at its next batch, if the arguments are the same as before; others are a `CheckpointError`.
    """

    samples: int = attrs.field(validator=validators.integer(at_least=1))
    batch_size: int = attrs.field(default=200, validator=validators.integer(at_least=1))
    shuffle: bool = attrs.field(default=True, kw_only=True, validator=validators.boolean())
    seed: int = attrs.field(default=0, kw_only=True, validator=validators.integer(at_least=0))
    _epoch: int = attrs.field(default=0, init=False, repr=False)
    _first: int = attrs.field(default=0, init=False, repr=False)

    def begin(self, epoch: int, batch: int = 0) -> None:
        """Have the next iteration yield the batches of `epoch`, beginning at `batch`, both counted from zero."""
        self._epoch, self._first = epoch, batch

    @property
    def order(self) -> Mapping[str, Any]:
        """The arguments that determine the batches of an epoch, by name."""
        return {"samples": self.samples, "batch_size": self.batch_size, "shuffle": self.shuffle, "seed": self.seed}

    def __len__(self) -> int:
        return (self.samples + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        first, self._first = self._first, 0
        order = np.arange(self.samples)
        if self.shuffle:
            # The numbers of the legacy generator never change, and a run may be resumed with a later NumPy.
            sequence = np.random.SeedSequence([self.seed, self._epoch])
            order = np.random.RandomState(np.random.MT19937(sequence)).permutation(self.samples)
        for start in range(first * self.batch_size, self.samples, self.batch_size):
            yield order[start : start + self.batch_size]
