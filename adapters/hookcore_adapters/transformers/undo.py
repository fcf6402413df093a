"""The one update that `Trainer` makes in a run that is resumed after it was stopped: it looks only then whether to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

    from hookcore_adapters.transformers.trainee import TransformersSnapshot, TransformersTrainee

_COUNTED: Final = ("global_step", "epoch", "num_input_tokens_seen")
"""What `TrainerState` counts by batches and updates."""


@attrs.frozen(eq=False)
class Undo:
    """What is put back after that update; made before it."""

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
        """Undo the update, and have `Trainer` stop without anything else."""
        self._trainee.restore(self._snapshot)
        ask_for_nothing(control)
        control.should_training_stop = True

    def uncount(self) -> None:
        """Have `Trainer` count as before the update: once it has logged the epoch, which it does only if it counts more."""
        for name, value in self._counted.items():
            setattr(self._state, name, value)


def ask_for_nothing(control: TrainerControl) -> None:
    """Have `Trainer` not log, evaluate or save now."""
    control.should_log = control.should_evaluate = control.should_save = False
