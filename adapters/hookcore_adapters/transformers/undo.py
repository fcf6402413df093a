"""Undo the update that `Trainer` makes if it resumes a run that was stopped: it checks only afterwards whether to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

    from hookcore_adapters.transformers.trainee import TransformersSnapshot, TransformersTrainee

_COUNTED: Final = ("global_step", "epoch", "num_input_tokens_seen")
"""The counts of batches and updates in `TrainerState`."""


@attrs.frozen(eq=False)
class Undo:
    """The state before the update; make it before the update."""

    _trainee: TransformersTrainee
    _state: TrainerState
    _snapshot: TransformersSnapshot = attrs.field(init=False)
    _counted: dict[str, Any] = attrs.field(init=False)

    @_snapshot.default
    def _snapshot_now(self) -> TransformersSnapshot:
        return self._trainee.snapshot()

    @_counted.default
    def _counted_so_far(self) -> dict[str, Any]:
        return {name: getattr(self._state, name) for name in _COUNTED}

    def put_back(self, control: TrainerControl) -> None:
        """Undo the update, and make `Trainer` stop without a log, an evaluation or a checkpoint."""
        self._trainee.restore(self._snapshot)
        ask_for_nothing(control)
        control.should_training_stop = True

    def uncount(self) -> None:
        """Restore the counts. Call it after the log of the epoch, which `Trainer` skips if the counts have not grown."""
        for name, value in self._counted.items():
            setattr(self._state, name, value)


def ask_for_nothing(control: TrainerControl) -> None:
    """Make `Trainer` not log, evaluate or save now."""
    control.should_log = control.should_evaluate = control.should_save = False
