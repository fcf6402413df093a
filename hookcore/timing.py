"""How long each plugin takes.

The hooks of batches are timed for the first `FIRST_WINDOW` batches, and then for one batch in `SAMPLED`, so that the other calls
cost no more than without timing. A timed batch stands for all batches of its sample, except that a slow call counts once, and
after one the batches of another window are all timed: rare, slow work is then neither missed nor counted many times. All other
hooks are timed at every call.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pluggy import HookImpl

BATCH_HOOKS: Final = tuple(f"on_{kind}batch_{moment}" for kind in ("", "evaluate_", "predict_") for moment in ("begin", "end"))
FIRST_WINDOW: Final = 1024
"""The number of successive batches that are timed, at the beginning and after a slow call."""
SAMPLED: Final = 61
"""Afterwards one batch in this number is timed: a prime, so that samples do not coincide with work at every Nth batch."""
SLOW: Final = 1e-3
"""The number of seconds from which a call counts as slow."""


@attrs.define(eq=False)
class Timing:
    """Adds up how long each plugin takes, and decides which batches are timed. `clock` returns seconds."""

    seconds: dict[str, float]
    """The seconds by plugin, without the time of plugins that were called within its hooks, as `on_checkpoint` is in a save."""
    clock: Callable[[], float]
    weight: int = attrs.field(default=1, init=False)
    """The number of batches that a timed batch stands for."""
    slow: bool = attrs.field(default=False, init=False)
    _measured: float = attrs.field(default=0.0, init=False)
    _latest: float = attrs.field(default=0.0, init=False)
    """When the latest call that was timed ended."""
    _unsampled: float = attrs.field(default=0.0, init=False)
    """The time from which the next sample is an estimate: when the previous sample ended, plus what was estimated since."""

    def timed(self, impls: Mapping[str, Sequence[HookImpl]]) -> dict[str, list[HookImpl]]:
        """Return the implementations with functions that time each call."""
        return {hook: [self._timed(impl, batch=hook in BATCH_HOOKS) for impl in own] for hook, own in impls.items()}

    def _timed(self, impl: HookImpl, *, batch: bool) -> Any:
        def call_timed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            began, measured = self.clock(), self._measured
            try:
                return function(*args, **kwargs)
            finally:
                now = self.clock()
                self._add(impl.plugin_name, now - began - (self._measured - measured), now, batch=batch)

        def wrap(*args: Any, **kwargs: Any) -> _TimedWrapper:
            generator: Any = impl.function(*args, **kwargs)
            return _TimedWrapper(call_timed, generator)

        timed: Any = copy.copy(impl)
        timed.function = wrap if impl.wrapper else functools.partial(call_timed, impl.function)
        return timed

    def _add(self, plugin: str, seconds: float, now: float, *, batch: bool) -> None:
        self._measured += seconds
        self._latest = now
        slow = batch and seconds >= SLOW
        self.slow |= slow
        if batch and not slow and self.weight > 1:
            # At most the time that has passed: in a short run one sample may be much slower than the other batches.
            seconds = min(seconds * self.weight, now - self._unsampled)
            self._unsampled += seconds
        self.seconds[plugin] += seconds

    def next_window(self, *, timed: bool) -> tuple[bool, int]:
        """Return whether the batches of the next window are timed, and how many there are; `timed` is that of the last window."""
        if timed and not self.slow:
            self._unsampled = self._latest
            return False, SAMPLED - 1
        self.weight = 1 if self.slow else SAMPLED
        length, self.slow = FIRST_WINDOW if self.slow else 1, False
        return True, length


@attrs.define
class _TimedWrapper:
    """A wrapper's generator that times each of its steps."""

    _call_timed: Callable[..., Any]
    _generator: Generator[None, object, object]

    def __next__(self) -> None:
        self._call_timed(next, self._generator)

    def send(self, value: object) -> None:
        self._call_timed(self._generator.send, value)

    def throw(self, error: BaseException) -> None:
        self._call_timed(self._generator.throw, error)

    def close(self) -> None:
        self._call_timed(self._generator.close)
