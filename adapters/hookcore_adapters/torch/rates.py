"""The learning rate of an optimizer with several groups of parameters."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from hookcore_adapters.rate_ratios import RateRatios, reference


@attrs.define(eq=False)
class GroupRates:
    """The learning rate of the groups of `optimizer`: that of the reference, to which the others keep their ratios."""

    optimizer: Any
    ratios: RateRatios = attrs.field(init=False, factory=RateRatios)

    @property
    def value(self) -> float:
        """The rate of the reference; 0 if all are 0."""
        return reference(self._now())

    @value.setter
    def value(self, rate: float) -> None:
        for own, group in zip(self.ratios.scaled(rate, self._now()), self.optimizer.param_groups, strict=True):
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(own)  # what was compiled or captured has this tensor
            else:
                group["lr"] = own

    def note(self) -> None:
        """Note the ratios, unless all rates are 0."""
        self.ratios.note(self._now())

    def _now(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]
