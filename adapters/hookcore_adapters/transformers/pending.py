"""What the end of a batch or an epoch leads to in `Trainer`: it tells of the end first, and then logs and evaluates."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal

import attrs

from hookcore_adapters.transformers.metrics import PREFIX

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

ANY_NUMBER: Final = sys.maxsize
"""More evaluations than any moment has."""


@attrs.define
class Pending:
    """What is still to come of the batch or the epoch that has ended.

    `Trainer` does not tell how many evaluations that is: as many as there are validation sets, and a script may add its own. It
    shows when training continues, and from then on is known. Until then one with the usual names is taken for the only one.
    """

    awaits: set[Literal["log", "evaluation", "epoch_end"]] = attrs.field(factory=set)
    _logged_step: int = 0
    """The step at which `Trainer` logged last: it does so once a step."""
    _evaluations: int = 0
    """How many evaluations there were since this moment began."""
    _usual: int | None = None
    """How many there are in a moment, if that has shown."""

    def begin(self, state: TrainerState, control: TrainerControl, *, epoch_ends: bool = False) -> None:
        """Take note of what callbacks have asked `Trainer` for, now that a batch or an epoch has ended."""
        self._usual, self._evaluations = self._evaluations or self._usual, 0
        self.awaits = {"epoch_end"} if epoch_ends else set()
        if control.should_log and state.global_step > self._logged_step:
            self.awaits.add("log")
        if control.should_evaluate:
            self.awaits.add("evaluation")

    def logged(self, state: TrainerState) -> None:
        """Take note of a log."""
        if "log" in self.awaits:
            self.awaits.discard("log")
            self._logged_step = state.global_step

    def evaluated(self, prefix: str) -> None:
        """Take note of an evaluation, whose metrics begin with `prefix`."""
        if "evaluation" in self.awaits or self._evaluations:
            self._evaluations += 1
        usual = self._usual or (1 if prefix == PREFIX else ANY_NUMBER)
        if self._evaluations >= usual:
            self.awaits.discard("evaluation")
