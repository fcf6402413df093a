"""Compare what a resumed run is given with the run before: the compiled learning rate, and the sizes of the data."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.trainee import learning_rate_in
from hookcore_adapters.keras.data import sizes

if TYPE_CHECKING:
    from typing import Self

    from hookcore import Run
    from hookcore_adapters.keras.trainee import KerasTrainee

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class Given:
    """Arguments of `fit` and `compile`, before a checkpoint overrides them."""

    _rate: float | None = None
    """The learning rate with which the model was compiled; None for a schedule."""
    _sizes: Mapping[str, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, trainee: KerasTrainee, arguments: Mapping[str, Any] | None) -> Self:
        """Return the learning rate of `trainee`, which is not restored yet, and the sizes in the arguments of `fit`."""
        is_set = trainee.lacks("learning_rate") is None
        return cls(learning_rate_in(trainee) if is_set else None, {} if arguments is None else sizes(arguments))

    def state_dict(self, run: Run) -> dict[str, Any]:
        """Return the values with which a resumed run is compared."""
        return {"learning_rate": self._rate, **self._all_sizes(run)}

    def _all_sizes(self, run: Run) -> dict[str, int]:
        steps = run.steps_per_epoch
        return {**self._sizes} if steps is None else {**self._sizes, "steps_per_epoch": steps}

    def compare(self, state: Mapping[str, Any], run: Run) -> None:
        """Warn of each difference from `state`, which `state_dict` returned. Checkpoints of earlier versions lack it."""
        used = learning_rate_in(run.trainee)
        rate: float | None = state.get("learning_rate")
        # The same model object may be trained again, with the rate that a plugin has set.
        if None not in {self._rate, rate, used} and not any(math.isclose(self._rate or 0, one or 0) for one in (rate, used)):
            logger.warning(
                "resumed: the model was compiled with learning_rate=%g, and before with %g; the run continues with %g from the "
                "checkpoint. To set another rate, use LearningRateSchedule",
                self._rate,
                rate,
                used,
            )
        for name, size in self._all_sizes(run).items():
            before = state.get(name, size)
            if before != size:
                logger.warning("resumed: %s is %d, and was %d; the run continues with %d", name, size, before, size)
