"""The monitor: decides whether a metric improved, and counts since when it has not. A pure value, no I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, final

import attrs

from hookcore.text import format_count
from hookcore.validators import integer, number, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.trainee import Mode


@final  # as `_after` knows all fields
@attrs.frozen
class Monitor:
    """What was best so far, and how many observations ago.

    Better is strict: `value < best - min_delta` for `"min"`, `value > best + min_delta` for `"max"`. The first number
    is always better than none. NaN is never better and never becomes best.
    """

    mode: Mode = attrs.field(validator=one_of("min", "max"))
    min_delta: float = attrs.field(default=0.0, validator=number(at_least=0))
    best: float | None = None
    best_epoch: int | None = None
    waited: int = attrs.field(default=0, validator=integer(at_least=0))
    """Observations since the best one, or since `rest`."""

    def improves(self, value: float) -> bool:
        """Whether `value` is better than `best`."""
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        if self.mode == "min":
            return value < self.best - self.min_delta
        return value > self.best + self.min_delta

    def observe(self, value: float, epoch: int) -> Monitor:
        """The monitor after one more observation. `waited` is 0 exactly where it improved."""
        if self.improves(value):
            return self._after(value, epoch, 0)
        return self._after(self.best, self.best_epoch, self.waited + 1)

    def rest(self) -> Monitor:
        """The same monitor, waiting from now on."""
        return self._after(self.best, self.best_epoch, 0)

    def _after(self, best: float | None, best_epoch: int | None, waited: int) -> Monitor:
        # Without `__init__`: its validators, which saw these parameters already, take longer than all else here.
        after = object.__new__(Monitor)
        put = object.__setattr__
        put(after, "mode", self.mode)
        put(after, "min_delta", self.min_delta)
        put(after, "best", best)
        put(after, "best_epoch", best_epoch)
        put(after, "waited", waited)
        return after

    def state_dict(self) -> dict[str, Any]:
        """What was observed, as JSON-able values; the parameters are not part of it."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> Monitor:
        """The same parameters with the observations of `state`."""
        return attrs.evolve(self, **state)

    def __str__(self) -> str:
        """How long it has waited, for a reason: `has not improved by more than 0.1 for 2 observations`."""
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"has not improved{by} for {format_count(self.waited, 'observation')}"
