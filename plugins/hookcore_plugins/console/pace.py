"""Measure how fast a run is, and estimate how long it will take."""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class Pace:
    """The times of the epochs and batches since the run began or was resumed, which may be within an epoch."""

    epoch_began: float
    batches: int = 0
    """The batches done in this epoch."""
    _first: int | None = None
    """The number of this epoch's first batch since then; None before it."""
    _is_whole: bool = False
    """Whether this epoch was timed from its beginning."""
    _epochs: int = 0
    _seconds: float = 0.0
    """How many whole epochs were timed before this one, and how long they took together."""

    def epoch_begin(self, now: float) -> None:
        """Begin an epoch; the one before is over, with its evaluation."""
        if self._is_whole:
            self._epochs += 1
            self._seconds += now - self.epoch_began
        self.epoch_began, self.batches, self._first, self._is_whole = now, 0, 0, True

    def batch_end(self, batch: int) -> None:
        """Count a batch, whose number is `batch`."""
        self._first = batch if self._first is None else self._first
        self.batches = batch + 1

    def left(self, now: float, total: int | None, epoch: int, epochs: int | None) -> tuple[float | None, float | None]:
        """Return the seconds left in the batches of this epoch and in the run, each None if it is unknown.

        `total` is the number of batches in an epoch and `epochs` that of epochs in the run, each None if it is unknown. In the
        last epoch of a run with a `total` both times would be the same, so the second is None.
        """
        elapsed, done = now - self.epoch_began, self.batches - (self._first or 0)
        per_batch = elapsed / done if done else None
        of_epoch = None if per_batch is None or total is None or self.batches >= total else per_batch * (total - self.batches)
        whole = self._seconds / self._epochs if self._epochs else None
        if whole is None and per_batch is not None and total is not None:
            whole = per_batch * total
        if whole is None or epochs is None:
            return of_epoch, None
        others = epochs - epoch - 1
        if others == 0 and total is not None:
            return of_epoch, None
        this = max(whole - elapsed, 0.0) if of_epoch is None else of_epoch
        return of_epoch, this + whole * others
