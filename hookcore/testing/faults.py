"""Faults to inject into a run: a disk operation that fails, or a plugin that raises."""

from __future__ import annotations

import errno
import inspect
import itertools
import os
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from hookcore.errors import ParameterError
from hookcore.markers import hookimpl
from hookcore.specs import HOOKS
from hookcore.store import disk
from hookcore.text import did_you_mean

OPERATIONS: Final = tuple(
    sorted(
        name
        for name, value in vars(disk).items()
        if inspect.isfunction(value) and value.__module__ == disk.__name__ and name[0] != "_"
    )
)
"""The disk operations that can fail."""


@attrs.define(eq=False)
class Faults:
    """The faults of one test. `clear` ends those of the disk; the fixture `hookcore_faults` calls it when the test is over."""

    _working: dict[str, Callable[..., Any]] = attrs.field(factory=dict, init=False)

    def disk(self, operation: str, *, at: int = 1, times: int | None = 1, error: OSError | None = None) -> None:
        """Make a disk operation fail, wherever hookcore calls it.

        * `operation`: one of `OPERATIONS`, such as `"append"`, `"sync"` or `"rename"`.
        * `at`: the number of the first call that fails, 1 by default.
        * `times`: how many calls fail, 1 by default; None for all from then on, as on a disk that stays full.
        * `error`: what is raised, by default an `OSError` for a full disk.

        Raises `ParameterError` for an unknown operation, and for numbers below 1.
        """
        _check("operation", operation, OPERATIONS)
        fails = _counter(at, times)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if error is None else error
        works = self._working.setdefault(operation, getattr(disk, operation))

        def operate(*arguments: Any, **named: Any) -> Any:
            if fails():
                raise full
            return works(*arguments, **named)

        setattr(disk, operation, operate)

    def plugin(
        self,
        hook: str,
        *,
        at: int = 1,
        times: int | None = 1,
        error: BaseException | None = None,
        role: Literal["actor", "observer"] = "actor",
    ) -> object:
        """Return a plugin called `faulty` that raises in a hook, to test the plugins beside it.

        * `hook`: the hook's name, such as `"on_epoch_end"`.
        * `at`, `times`: which calls raise, as for `disk`.
        * `error`: what is raised, by default a `RuntimeError`.
        * `role`: an actor's error ends the run, and an observer's error disables only the observer.

        Raises `ParameterError` for an unknown hook, and for numbers below 1.
        """
        _check("hook", hook, tuple(HOOKS))
        fails = _counter(at, times)
        raised = RuntimeError(f"a fault in {hook}") if error is None else error

        def fail(self: object) -> None:
            del self
            if fails():
                raise raised

        return type("Faulty", (), {hook: hookimpl(fail), "role": role, "name": "faulty"})()

    def clear(self) -> None:
        """Make the disk work again."""
        for operation, works in self._working.items():
            setattr(disk, operation, works)
        self._working.clear()


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ParameterError(f"Faults: {what} must be one of {', '.join(known)}, got {name!r}.{did_you_mean(str(name), known)}")


def _counter(at: int, times: int | None) -> Callable[[], bool]:
    """Return a function that counts its calls, and returns whether this call fails."""
    for name, value in (("at", at), ("times", times)):
        if value is not None and value < 1:
            raise ParameterError(f"Faults: {name} must be an integer of at least 1, got {value!r}.")
    calls = itertools.count(1)  # atomic, because the thread that writes checkpoints calls it too
    return lambda: (call := next(calls)) >= at and (times is None or call < at + times)
