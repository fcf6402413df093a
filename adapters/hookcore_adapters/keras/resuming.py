"""Make Keras continue at the epoch and the batch at which a run was interrupted."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import CheckpointError, Position
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.data import build_metrics
from hookcore_adapters.keras.data_order import continues, order_warnings
from hookcore_adapters.keras.epoch_state import EpochState
from hookcore_adapters.keras.keras_random import KerasRandom
from hookcore_adapters.keras.skip_batches import BatchSkipper, begin_data_again, epoch_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class Resuming:
    """The state of one epoch for checkpoints within it, and its restoration if `model` resumes at `position`."""

    _model: Any = None
    _position: Position = attrs.field(factory=Position)
    _generators: Sequence[Any] = ()
    """The PyTorch generators from which the data draw, except the global one."""
    _epoch_state: EpochState = attrs.field(init=False)
    _random: KerasRandom | None = None
    """The random state in the checkpoint, until the first epoch begins."""
    _before_validation: KerasRandom | None = None
    """The random state at the beginning of this epoch's validation, also if an interrupted validation will begin again.

    None before the first.
    """
    _resumes_validation: bool = False
    """Whether a validation was interrupted, and has not begun again."""
    _skipper: BatchSkipper | None = None
    """Skips the batches of the epoch that were trained before the interruption."""
    _to_skip: bool = False
    """Whether batches must be skipped, before Keras has reached the first of them."""
    _continues: bool = False
    """Whether the epoch may continue an iteration over the data that an earlier epoch began."""

    @_epoch_state.default
    def _begin(self) -> EpochState:
        return EpochState(random=KerasRandom.now(self._generators))

    @property
    def is_skipping(self) -> bool:
        """Whether the present execution was trained before the interruption, and is skipped."""
        return self._skipper is not None and not self._skipper.is_over

    @property
    def shift(self) -> int:
        """How many batches this epoch is ahead of Keras's numbers, if executions had another length before the interruption."""
        return 0 if self._skipper is None else self._skipper.shift

    @property
    def is_waiting(self) -> bool:
        """Whether Keras must not stop yet, because it has not reached the batch at which the run was interrupted."""
        return self._random is not None or self._to_skip or self.is_skipping

    def choose_first_epoch(self, state: Mapping[str, Any], arguments: Mapping[str, Any] | None, *, nothing_left: bool) -> None:
        """Make Keras begin with the epoch in which the run is resumed, or train no epoch if `nothing_left`.

        `state` is a result of `state_dict`. Raises `CheckpointError` if it is invalid.
        """
        self._to_skip = self._position.batch > 0
        self._resumes_validation = self._to_skip and "validation" in state
        key = "validation" if self._resumes_validation else "random"
        self._random = _state_of_all(state[key]) if key in state else KerasRandom.now()
        self._before_validation = self._random if self._resumes_validation else None
        self._continues = continues(arguments, self._position)
        if self._to_skip:
            self._epoch_state = EpochState.from_state_dict(state.get("epoch", {}))
        internals.set_initial_epoch(self._model, sys.maxsize if nothing_left else self._position.epoch)
        for warning in order_warnings(arguments, self._position):
            logger.warning("resumed: %s", warning)

    def begin_epoch(self) -> None:
        """Restore the random state of the checkpoint, before hooks of the first epoch draw."""
        if self._random is not None:
            internals.set_initial_epoch(self._model, None)  # not for the next fit
            self._random.restore(self._generators)  # undoes what was drawn since the checkpoint was read
            self._random = None
            if self._continues and not self._to_skip:
                begin_data_again(self._generators)

    def skip_trained_batches(self, steps_per_epoch: int | None, *, each: Callable[[], None], stops: Callable[[], bool]) -> bool:
        """Skip the batches that were trained. Log a warning and return False if they cannot be skipped.

        `each` is called after each batch that must be read, and once after all. `stops` then returns whether Keras must stop. The
        batches are read with the random state from the beginning of the epoch, and the present state is restored afterwards.
        """
        self._to_skip = False
        position, model, state = self._position, self._model, self._epoch_state
        data = epoch_data()
        if data is None:
            logger.warning(
                "resumed: epoch %d begins again with its first batch, although %d were trained, because they cannot be skipped "
                "in the overridden fit of %s",
                position.epoch + 1,
                position.batch,
                type(model).__name__,
            )
            self._epoch_state = self._begin()
            return False

        def restore(batch: Any) -> Mapping[str, Any]:
            build_metrics(model, data, batch)
            state.restore_metrics(model)
            return state.logs or {}

        available = min(position.batch, steps_per_epoch or position.batch)
        if available < position.batch:
            _warn_of_missing(position.batch - available, position.epoch)
        self._skipper = BatchSkipper(model, data, available, self._as_the_epoch_began, each, restore, stops)
        return True

    @contextlib.contextmanager
    def _as_the_epoch_began(self) -> Iterator[None]:
        """Use the random state from the beginning of the epoch in this `with` block, and restore the present state afterwards."""
        now = KerasRandom.now(self._generators)
        self._epoch_state.random.restore(self._generators)
        try:
            yield
        finally:
            now.restore(self._generators)

    def begin_skipping(self) -> None:
        """Begin the execution that replaces the skipped ones."""
        if self._skipper is not None and self.is_skipping:
            self._skipper.start()

    def end_skipping(self) -> None:
        """End the execution that replaces the skipped ones."""
        if self._skipper is not None:
            self._skipper.is_over = True

    def end_epoch(self) -> None:
        """Warn if the epoch ended before all batches could be skipped."""
        if self._skipper is not None:
            if self._skipper.missing:
                _warn_of_missing(self._skipper.missing, self._position.epoch)
            self.clean_up()

    def clean_up(self) -> None:
        """Remove from the model what resuming has added to it."""
        if self._random is not None:
            internals.set_initial_epoch(self._model, None)
            self._random = None
        if self._skipper is not None:
            self._skipper.stop()
            self._skipper = None

    def hold_metrics(self, *, has_logs: bool) -> None:
        """Keep the running metrics before a validation overwrites them, and the random state to repeat it if it is interrupted.

        `has_logs` is whether the logs of the epoch's latest batch are known.
        """
        self._epoch_state.hold_metrics(self._model, has_logs=has_logs)
        if self._resumes_validation and self._before_validation is not None:
            self._before_validation.restore(self._generators)  # the end of the training data has drawn random numbers
        else:
            self._before_validation = KerasRandom.now(self._generators)
        self._resumes_validation = False

    def state_dict(self, logs: Mapping[str, Any] | None, *, within: bool) -> dict[str, Any]:
        """Return the state for a checkpoint, `within` an epoch or at its end, besides the model.

        `logs` are the latest batch's.
        """
        held: dict[str, Any] = {}
        if self._generators:
            held["random"] = KerasRandom.now(self._generators).state_dict()
        if within and self._before_validation is not None:
            held["validation"] = self._before_validation.state_dict()
        if within:
            held["epoch"] = self._epoch_state.state_dict(self._model, self._epoch_state.logs if logs is None else logs)
        return held


def _state_of_all(state: Mapping[str, Any]) -> KerasRandom:
    try:
        return KerasRandom.from_state_dict(state)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(f"The checkpoint has an invalid random state: {error!r}.") from error


def _warn_of_missing(batches: int, epoch: int) -> None:
    logger.warning("epoch %d had %d more batches when it was interrupted than its data have now", epoch + 1, batches)
