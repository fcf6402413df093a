"""A clock that tests advance."""

from __future__ import annotations

import attrs


@attrs.define
class Clock:
    """A clock that all instances read, and that `tick` advances by a second."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 1
