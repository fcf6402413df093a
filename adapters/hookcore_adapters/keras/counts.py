"""Count the batches and updates of each execution of Keras's train function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

from hookcore_adapters.keras import jax_state
from hookcore_adapters.keras.saveables import Saveables
from hookcore_adapters.keras.trainee import KerasTrainee, innermost

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE: Final = 100
"""The number of batches without an update after which the model is assumed to train with another optimizer."""


@attrs.define(eq=False)
class Counts:
    """Reads the optimizer of a model that trains several batches in one execution, or with none or several updates per batch.

    A step is an update of the model's optimizer. Each batch is a step if the model has no optimizer or several, or if
    `train_step` uses one that is not found in the model.
    """

    _trainee: KerasTrainee
    _asks: bool
    """Whether the updates of the optimizer are the steps."""
    _is_plain: bool
    """Whether the train step is Keras's own, which calls the optimizer once for each batch."""
    _accumulates: bool
    """Whether the optimizer adds up the gradients of several batches."""
    _unmoved: int = 0
    """The number of batches so far, until the optimizer makes its first update."""
    _has_moved: bool = False
    _before: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, model: Any) -> Counts | None:
        """Return the counter for `model`, or None if each execution is one batch and one step."""
        if not isinstance(model, keras.Model):
            return None  # something else that calls callbacks as `fit` does, without executions
        is_plain = all(
            getattr(type(model), name, None) is getattr(keras.Model, name) and name not in vars(model)
            for name in ("train_step", "make_train_function")
        )
        given = getattr(model, "optimizer", None)  # a model that was never compiled lacks it
        optimizer = innermost(given)
        accumulates = bool(getattr(optimizer, "gradient_accumulation_steps", None))
        asks = optimizer is not None and (is_plain or not _has_others(model, optimizer))
        if is_plain and not accumulates and optimizer is not given:
            # A LossScaleOptimizer skips an update after an overflow. It is counted anyway, because reading the optimizer would
            # wait for the device.
            asks = False
        executes_one = int(getattr(model, "steps_per_execution", 1) or 1) == 1
        if executes_one and (not asks or (is_plain and not accumulates)):
            return None
        return cls(KerasTrainee(model), asks, is_plain, accumulates)

    def begin(self) -> None:
        """Record the optimizer's counts before an execution, after hooks in which a plugin may have restored an older state."""
        # State that the JAX trainer holds was not changed by plugins, and reading it would wait for the device.
        if self._asks and not (self._has_moved and jax_state.is_held(self._trainee.model)):
            self._before = self._trainee.counts

    def end(self, batches: int) -> tuple[int, int]:
        """Return the updates and the batches of an execution.

        `batches` is Keras's number, which is too high if the data ended in it.
        """
        if not self._asks:
            return batches, batches
        now = self._trainee.counts
        updates, calls = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        if calls:
            self._has_moved = True
        elif not self._has_moved and not self._accumulates:
            self._unmoved += batches
            if self._is_plain or self._unmoved >= _PATIENCE:
                return self.give_up(), batches
        # The optimizer inside of a LossScaleOptimizer is not called for a batch with an overflow.
        tells = self._is_plain and calls and self._trainee.model.optimizer is innermost(self._trainee.model.optimizer)
        return updates, min(calls, batches) if tells else batches

    def give_up(self) -> int:
        """Count batches as steps from now on, if the optimizer has made no update; return the number of batches so far."""
        if self._has_moved or self._accumulates or not self._asks:
            return 0
        self._asks = False
        return self._unmoved

    def state_dict(self) -> dict[str, Any]:
        """Return whether the updates of the optimizer are the steps."""
        return {"asks": self._asks, "has_moved": self._has_moved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned. Checkpoints of earlier versions lack it."""
        self._asks = self._asks and bool(state.get("asks", True))
        self._has_moved = bool(state.get("has_moved", False))


def _has_others(model: Any, optimizer: Any) -> bool:
    """Return whether the model has another optimizer, in any place where Keras finds it to save it."""
    saved = Saveables(model)
    saved.find()
    optimizers = (one for one in saved.found.values() if isinstance(one, keras.optimizers.Optimizer))
    return any(innermost(other) is not optimizer for other in optimizers)
