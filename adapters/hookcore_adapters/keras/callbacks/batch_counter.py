"""Count batches over epochs, for the callbacks that save every N batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore.observing import due

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


@attrs.define
class BatchCounter:
    """Counts batches over epochs. Keras passes the number of an execution's last batch, which may be past the epoch's end."""

    total: int = 0
    in_epoch: int = 0
    before: int = 0
    """The number of batches that were counted before the interruption. They are not due again if they are repeated."""

    def epoch_begin(self) -> None:
        """Begin an epoch."""
        self.in_epoch = 0

    def reached(self, every: Literal["epoch"] | int | None, batch: int, length: int | None) -> bool:
        """Count the batches up to `batch`, and return whether they reached a multiple of `every`."""
        done = batch + 1 if length is None else min(batch + 1, length)
        if done <= self.in_epoch:  # driven without on_epoch_begin
            self.in_epoch = 0
        before = max(self.total, self.before)
        self.total += done - self.in_epoch
        self.in_epoch = done
        return isinstance(every, int) and self.total > before and due(every, self.total, before)

    def state_dict(self) -> dict[str, int]:
        """Return the counts, as integers."""
        return {"batches": self.total - self.in_epoch, "in_epoch": self.in_epoch}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, int]) -> Self:
        """Return a counter that counts the interrupted epoch from its first batch."""
        return cls(state["batches"], before=state["batches"] + state["in_epoch"])


def batches_per_epoch(callback: Any) -> int | None:
    """Return the number of batches in an epoch that Keras passed to the callback, or None if it is unknown."""
    steps = (callback.params or {}).get("steps")
    return None if steps is None else int(steps)
