"""How Keras continues with the epoch, and the batch, at which a run was cut."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Position
from hookcore_adapters.keras.data import build_from_batch, order_warnings
from hookcore_adapters.keras.epoch_state import EpochState
from hookcore_adapters.keras.skip_batches import BatchSkipper, can_skip_batches
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hookcore")


class _InitialEpoch(int):
    """An initial epoch that is true even if it is 0: Keras takes `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


@attrs.define(eq=False)
class Resuming:
    """What one epoch keeps for a checkpoint within it, and how it is put back when `model` resumes at `position`."""

    _model: Any = None
    _position: Position = attrs.field(factory=Position)
    _epoch_state: EpochState = attrs.field(factory=EpochState)
    _random: RandomState | None = None
    """The random numbers of the checkpoint, until the first epoch begins."""
    _skipper: BatchSkipper | None = None
    """Skips the batches of the epoch that were trained before the run was cut."""
    _to_skip: bool = False
    """Whether batches must be skipped, and Keras is not at the first of them yet."""

    @property
    def is_skipping(self) -> bool:
        """Whether Keras is at batches that were trained before the run was cut."""
        return self._skipper is not None

    @property
    def is_waiting(self) -> bool:
        """Whether Keras has not reached the batch at which the run was cut, so that it must not stop yet."""
        return self._random is not None or self._to_skip or self._skipper is not None

    def choose_first_epoch(self, state: Mapping[str, Any], arguments: Mapping[str, Any] | None, *, nothing_left: bool) -> None:
        """Have Keras begin with the epoch in which the run is resumed, or with none if `nothing_left`.

        `state` is what `state_dict` returned. Raises `CheckpointError` if it is something else.
        """
        self._random = RandomState.now()
        self._to_skip = self._position.batch > 0
        if self._to_skip and can_skip_batches():
            self._epoch_state = EpochState.from_state_dict(state.get("epoch", {}))
        self._model._initial_epoch = _InitialEpoch(sys.maxsize if nothing_left else self._position.epoch)  # noqa: SLF001 - no public way
        for warning in order_warnings(arguments, self._position):
            logger.warning("resumed: %s", warning)

    def begin_epoch(self) -> None:
        """Put the random numbers of the checkpoint back, before the first epoch's hooks draw."""
        if self._random is not None:
            self._model._initial_epoch = None  # noqa: SLF001 - the next fit begins with its own initial_epoch
            self._random.restore()  # whatever was drawn since it was read
            self._random = None

    def skip_trained_batches(self, steps_per_epoch: int | None) -> bool:
        """Skip the batches that were trained before; return False, with a warning, if the backend cannot.

        The random numbers after them are those of now, in them those with which the epoch began.
        """
        self._to_skip = False
        position, model, state, after = self._position, self._model, self._epoch_state, RandomState.now()
        if not can_skip_batches():
            logger.warning(
                "resumed: epoch %d begins again with its first batch, although %d were trained: this backend cannot skip batches",
                position.epoch + 1,
                position.batch,
            )
            self._epoch_state = EpochState()
            return False

        def restore(batch: Any) -> Mapping[str, Any]:
            build_from_batch(model, batch)  # the metrics, which Keras makes at the first batch that is trained
            state.restore_metrics(model)
            after.restore()
            return state.logs or {}

        state.random.restore()
        available = min(position.batch, steps_per_epoch or position.batch)
        if available < position.batch:
            _warn_of_missing(position.batch - available, position.epoch)
        self._skipper = BatchSkipper(model, available, restore)
        return True

    def begin_skipping(self) -> None:
        """Skip the batches of the execution that begins."""
        if self._skipper is not None:
            self._skipper.start()

    def end_skipping(self) -> None:
        """End an execution that was skipped."""
        if self._skipper is not None and not self._skipper.left:
            self._skipper = None

    def end_epoch(self) -> None:
        """Warn if the epoch ended before all batches that were trained before were skipped."""
        if self._skipper is not None:
            _warn_of_missing(self._skipper.left, self._position.epoch)
            self.clean_up()

    def clean_up(self) -> None:
        """Remove from the model what resuming has put there."""
        if self._random is not None:
            self._model._initial_epoch = self._random = None  # noqa: SLF001
        if self._skipper is not None:
            self._skipper.stop()
            self._skipper = None

    def hold_metrics(self) -> None:
        """Keep the running metrics before a validation overwrites them."""
        if can_skip_batches():
            self._epoch_state.hold_metrics(self._model)

    def state_dict(self, logs: Mapping[str, Any] | None, *, within: bool) -> dict[str, Any]:
        """Return what a checkpoint `within` an epoch needs besides the model. `logs` are those of the latest batch, if any."""
        if not (within and can_skip_batches()):
            return {}
        return {"epoch": self._epoch_state.state_dict(self._model, self._epoch_state.logs if logs is None else logs)}


def _warn_of_missing(batches: int, epoch: int) -> None:
    logger.warning("epoch %d had %d batches more when it was cut than its data have now", epoch + 1, batches)
