"""Set the learning rate of each epoch from a function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from hookcore import ParameterError, Run, hookimpl
from hookcore.authoring import Capability, validators


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class LearningRateSchedule:
    """Set the learning rate to what `schedule` returns, at the beginning of every epoch.

    * `schedule`: `schedule(epoch)` or `schedule(epoch, learning_rate)`, with the epoch counted from 0 and the rate in use. A
      function that can be called with the epoch alone is called that way, and a second argument keeps its default.

    Raises `ParameterError` for any other object, and at the beginning of an epoch for which the schedule does not return a
    finite number of at least 0. A number is whatever `float` takes, such as a tensor of one element, except strings and
    booleans. An error inside the schedule propagates unchanged. If the framework has its own learning-rate schedule, the
    plugin is refused before the first batch.
    """

    needs: ClassVar[tuple[Capability, ...]] = ("learning_rate",)

    schedule: Callable[..., Any] = attrs.field()
    _takes_rate: bool = attrs.field(init=False)

    @schedule.validator
    def _fits(self, attribute: Any, value: object) -> None:
        if not (_accepts(value, 0) or _accepts(value, 0, 0.1)):
            validators.reject(self, attribute.alias, value, "a function of (epoch) or (epoch, learning_rate)")

    @_takes_rate.default
    def _from_signature(self) -> bool:
        return not _accepts(self.schedule, 0)

    @hookimpl
    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Set the epoch's rate."""
        returned = self.schedule(epoch, run.learning_rate) if self._takes_rate else self.schedule(epoch)
        rate = _as_rate(returned)
        if rate is None:
            raise ParameterError(
                f"{run.plugin}: the schedule must return a finite number of at least 0, got {returned!r} for epoch={epoch}."
            )
        run.learning_rate = rate


def _accepts(schedule: Any, *arguments: float) -> bool:
    try:
        inspect.signature(schedule).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _as_rate(value: Any) -> float | None:
    try:
        # `item` first: NumPy deprecates float() of an array of one element.
        plain = value.item() if hasattr(value, "item") else value
        rate = math.nan if isinstance(plain, bool | str | bytes) else float(plain)
    except (TypeError, ValueError, OverflowError):
        return None
    return rate if math.isfinite(rate) and rate >= 0 else None
