"""The learning rate of an optimizer with several groups of parameters."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from hookcore_adapters.rate_ratios import RateRatios, reference


@attrs.define(eq=False)
class GroupRates:
    """The learning rates of the groups of `optimizer`. Setting the reference's rate keeps the ratios of the others to it."""

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
                group["lr"].fill_(own)  # compiled code and captured graphs read this tensor
            else:
                group["lr"] = own

    def note(self) -> None:
        """Record the ratios, unless all rates are 0."""
        self.ratios.note(self._now())

    def _now(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]
