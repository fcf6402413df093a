"""The log and the evaluations that follow the end of a batch or an epoch in `Trainer`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal

import attrs

from hookcore_adapters.transformers.metrics import PREFIX

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

ANY_NUMBER: Final = sys.maxsize
"""More evaluations than ever follow one end."""


@attrs.define
class Pending:
    """What will still follow the batch or the epoch that has ended.

    The number of evaluations is not known in advance: one for each validation set, and a script may add its own. It is known from
    the first end after which training continues. Until then, an evaluation with the default prefix is assumed to be the only one.
    """

    awaits: set[Literal["log", "evaluation", "epoch_end"]] = attrs.field(factory=set)
    _logged_step: int = 0
    """The step of the latest log: `Trainer` logs at most once per step."""
    _evaluations: int = 0
    """How many evaluations have followed this end."""
    _usual: int | None = None
    """How many evaluations follow an end, if that is known."""

    def begin(self, state: TrainerState, control: TrainerControl, *, epoch_ends: bool = False) -> None:
        """Record what callbacks have asked `Trainer` for at the end of a batch or an epoch."""
        self._usual, self._evaluations = self._evaluations or self._usual, 0
        self.awaits = {"epoch_end"} if epoch_ends else set()
        if control.should_log and state.global_step > self._logged_step:
            self.awaits.add("log")
        if control.should_evaluate:
            self.awaits.add("evaluation")

    def logged(self, state: TrainerState) -> None:
        """Record that `Trainer` has logged."""
        if "log" in self.awaits:
            self.awaits.discard("log")
            self._logged_step = state.global_step

    def evaluated(self, prefix: str) -> None:
        """Record an evaluation whose metrics have `prefix`."""
        if "evaluation" in self.awaits or self._evaluations:
            self._evaluations += 1
        usual = self._usual or (1 if prefix == PREFIX else ANY_NUMBER)
        if self._evaluations >= usual:
            self.awaits.discard("evaluation")
