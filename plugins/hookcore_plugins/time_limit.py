"""Stop when the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from hookcore import ParameterError, Run, hookimpl
from hookcore.authoring import format_duration, schema, validators

_STATE: Final = schema.fields({"elapsed": schema.seconds})


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class TimeLimit:
    """Vote to stop at the end of the first batch or epoch after the time limit, counted from the beginning of training.

    * `seconds`, `minutes`, `hours`: the limit is their sum; at least one must be given, each above 0.
    * `clock`: a function that returns seconds and never goes back; `time.monotonic` by default.

    A resumed run keeps the time that it has used; the time until it was resumed does not count. Raises `ParameterError` for a
    value outside its range, and if no limit is given.
    """

    seconds: float | None = attrs.field(default=None, validator=validators.number(above=0, optional=True))
    minutes: float | None = attrs.field(default=None, validator=validators.number(above=0, optional=True))
    hours: float | None = attrs.field(default=None, validator=validators.number(above=0, optional=True))
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    _used: float = attrs.field(init=False, default=0.0)
    """Seconds used before training began."""
    _end: float | None = attrs.field(init=False, default=None)
    """The clock's reading at the limit, so that a batch only has to compare; None before training."""

    def __attrs_post_init__(self) -> None:
        if not self._limit:
            raise ParameterError("TimeLimit: give a limit in seconds, minutes or hours.")

    @property
    def _limit(self) -> float:
        return (self.seconds or 0) + 60 * (self.minutes or 0) + 3600 * (self.hours or 0)

    @property
    def _elapsed(self) -> float:
        return self._used if self._end is None else self.clock() - self._end + self._limit

    @hookimpl
    def on_train_begin(self) -> None:
        """Start the clock."""
        self._end = self.clock() + self._limit - self._used

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        """Vote if the limit has passed."""
        now, end = self.clock(), self._end
        # The vote of a batch is enough: the end of its epoch calls this too.
        if end is not None and now >= end and not any(vote.plugin == run.plugin for vote in run.stop_reasons):
            elapsed = now - end + self._limit
            limit, used = (format_duration(seconds, milliseconds=True) for seconds in (self._limit, elapsed))
            run.stop(f"the time limit of {limit} has passed: {used} elapsed")

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        """Vote if the limit has passed: validation takes time too."""
        self.on_batch_end(run)

    def state_dict(self) -> dict[str, Any]:
        """Return how many seconds have been used so far."""
        return {"elapsed": self._elapsed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the seconds of `state`."""
        self._used, self._end = _STATE(state)["elapsed"], None
