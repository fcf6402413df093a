"""The trainee: the thing being trained, as an adapter presents it to portable plugins."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from pathlib import Path

Mode: TypeAlias = Literal["min", "max"]
"""The direction in which a metric gets better."""

Snapshot: TypeAlias = Any
"""What `Trainee.snapshot` returned: opaque to everyone but the trainee that made it."""

Capability: TypeAlias = Literal["learning_rate", "snapshot", "checkpoint"]
"""What a plugin may list in its `needs`.

`learning_rate`: can be read and set. `snapshot`: `snapshot` and `restore`. `checkpoint`: `write` and `read` too.
"""


class Trainee(Protocol):
    """What portable plugins may do with the thing being trained. An adapter implements it.

    A trainee need not be able to do everything: `lacks` says what it cannot do and why, and a plugin that
    needs it is refused by name before the first batch.
    """

    @property
    @abstractmethod
    def framework(self) -> str:
        """The framework's name, as in `"keras"`."""
        ...

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """The learning rate in use now."""
        ...

    @learning_rate.setter
    @abstractmethod
    def learning_rate(self, value: float) -> None: ...

    @abstractmethod
    def lacks(self, capability: Capability) -> str | None:
        """Why `capability` is missing, as the end of a sentence, or None where it is there."""
        ...

    @abstractmethod
    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """A copy in host memory of the weights and, unless told otherwise, the optimizer state."""
        ...

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Put back what `snapshot` holds."""
        ...

    @abstractmethod
    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Write `snapshot` as files into `directory`, which exists and is empty."""
        ...

    @abstractmethod
    def read(self, directory: Path) -> None:
        """Put back what `write` wrote into `directory`."""
        ...

    @abstractmethod
    def direction(self, metric: str) -> Mode | None:
        """The direction that the framework declares for `metric`, or None where it declares none."""
        ...


@attrs.define(eq=False)
class NoTrainee:
    """The trainee of a loop that was given none: every capability is missing."""

    framework: str = "none"

    def lacks(self, capability: Capability) -> str | None:
        """Every capability, always."""
        return f"this loop was given no trainee, so it has no {capability.replace('_', ' ')}"

    @property
    def learning_rate(self) -> float:
        """Not there."""
        msg = "this loop was given no trainee, so it has no learning rate"
        raise AttributeError(msg)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        msg = f"this loop was given no trainee, so its learning rate cannot be set to {value!r}"
        raise AttributeError(msg)

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Nothing to copy."""
        del optimizer

    def restore(self, snapshot: Snapshot) -> None:
        """Nothing to put back."""

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Nothing to write."""

    def read(self, directory: Path) -> None:
        """Nothing to read."""

    def direction(self, metric: str) -> Mode | None:
        """None: nothing is declared."""
        del metric
        return None
