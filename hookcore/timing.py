"""What the time of a run goes to: how long each plugin takes.

The hooks of epochs and the like are timed at every call. Those of batches are timed at every call for a while, and from then on
at one batch in so many, as an untimed call costs no more than it ever did. Where one of them is slow, they are timed at every
call for another while: what is slow and rare is not lost between two samples, nor multiplied where one catches it.
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
"""So many batches are timed one after the other."""
SAMPLED: Final = 61
"""Then one in so many: a prime, as what plugins do every n-th batch they do at round numbers."""
SLOW: Final = 1e-3  # seconds


@attrs.define(eq=False)
class Timing:
    """Adds up how long each plugin takes, and decides which batches are timed."""

    seconds: dict[str, float]
    """By plugin, without the time of plugins that were called meanwhile, as by the announcement of a checkpoint."""
    clock: Callable[[], float]
    weight: int = attrs.field(default=1, init=False)
    """How many batches the one that is being timed stands for."""
    slow: bool = attrs.field(default=False, init=False)
    _measured: float = attrs.field(default=0.0, init=False)

    def timed(self, impls: Mapping[str, Sequence[HookImpl]]) -> dict[str, list[HookImpl]]:
        """The same implementations, each with a function that takes the time."""
        return {hook: [self._timed(impl, batch=hook in BATCH_HOOKS) for impl in own] for hook, own in impls.items()}

    def _timed(self, impl: HookImpl, *, batch: bool) -> Any:
        def take(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            began, measured = self.clock(), self._measured
            try:
                return function(*args, **kwargs)
            finally:
                self._add(impl.plugin_name, self.clock() - began - (self._measured - measured), batch=batch)

        def wrap(*args: Any, **kwargs: Any) -> _Wrapper:
            made: Any = impl.function(*args, **kwargs)
            return _Wrapper(take, made)

        timed: Any = copy.copy(impl)
        timed.function = wrap if impl.wrapper else functools.partial(take, impl.function)
        return timed

    def _add(self, plugin: str, seconds: float, *, batch: bool) -> None:
        self._measured += seconds
        slow = batch and seconds >= SLOW
        self.slow |= slow
        self.seconds[plugin] += seconds if slow or not batch else seconds * self.weight

    def next_window(self, *, timed: bool) -> tuple[bool, int]:
        """After a window of batches that were `timed` or not: whether those of the next are, and how many they are."""
        if timed and not self.slow:
            return False, SAMPLED - 1
        self.weight = 1 if self.slow else SAMPLED
        length, self.slow = FIRST_WINDOW if self.slow else 1, False
        return True, length


@attrs.define
class _Wrapper:
    """A wrapper's generator, of which each step is timed."""

    _take: Callable[..., Any]
    _generator: Generator[None, object, object]

    def __next__(self) -> None:
        self._take(next, self._generator)

    def send(self, value: object) -> None:
        self._take(self._generator.send, value)

    def throw(self, error: BaseException) -> None:
        self._take(self._generator.throw, error)

    def close(self) -> None:
        self._take(self._generator.close)
