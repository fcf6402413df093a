"""The learning rates of several groups of parameters: a plugin sets one, and the others keep their ratios to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@attrs.define(eq=False)
class RateRatios:
    """The rate of each group as a multiple of the reference's, kept for the time when all rates are 0.

    The reference is the first group whose rate is above 0, because groups before it may be frozen.
    """

    values: list[float] = attrs.field(factory=list)

    def note(self, rates: Sequence[float]) -> None:
        """Record the ratios of `rates`, unless all are 0. A group that was added since has the ratio 1."""
        first = reference(rates)
        if first:
            self.values = [rate / first for rate in rates]
        self.values += [1.0] * (len(rates) - len(self.values))

    def scaled(self, rate: float, rates: Sequence[float]) -> list[float]:
        """Return what `rates` become if the reference's rate becomes `rate`."""
        self.note(rates)
        return [rate * ratio for ratio in self.values]


def reference(rates: Iterable[float]) -> float:
    """Return the rate that a plugin sees: the first above 0, or 0 if all are 0."""
    return next((rate for rate in rates if rate > 0), 0.0)
