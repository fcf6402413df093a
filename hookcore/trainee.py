"""The trainee: the thing being trained, as an adapter presents it to portable plugins."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Mode: TypeAlias = Literal["min", "max"]
"""The direction in which a metric gets better."""

Snapshot: TypeAlias = Any
"""What `Trainee.snapshot` returned: opaque to everyone but the trainee that made it."""

Capability: TypeAlias = Literal[
    "learning_rate", "snapshot", "checkpoint", "weights", "activations", "gradients", "graph", "embeddings", "picture"
]
"""What a plugin may list in its `needs`.

`learning_rate`: can be read and set. `snapshot`: `snapshot` and `restore`. `checkpoint`: `write` and `read` too. The others are
the methods of `Views`, each by its name.
"""

Arrays: TypeAlias = "Mapping[str, Any]"
"""NumPy arrays in host memory, by name."""


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
        """The weights and, unless told otherwise, the optimizer state and the random state, as they are now.

        Training on does not change it: it is a copy, or it refers to values that are never written to. It may have an
        attribute `nbytes`, the disk space that writing it takes.
        """
        ...

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Put back what `snapshot` holds."""
        ...

    @abstractmethod
    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Write `snapshot` as files into `directory`, which exists and is empty.

        May be called on another thread while training goes on: reads the snapshot, and nothing that training changes.
        """
        ...

    @abstractmethod
    def read(self, directory: Path) -> Snapshot:
        """The snapshot that `write` wrote into `directory`, for `restore`. Changes nothing."""
        ...

    @abstractmethod
    def direction(self, metric: str) -> Mode | None:
        """The direction that the framework declares for `metric`, or None where it declares none."""
        ...


def reason_lacking(trainee: Trainee, capability: Capability) -> str | None:
    """Why `trainee` lacks `capability`, as the end of a sentence, or None where it has it."""
    if capability in _VIEWS and not hasattr(trainee, capability):
        return f"a {trainee.framework} trainee has none"
    return trainee.lacks(capability)


_VIEWS: Final = frozenset({"weights", "activations", "gradients", "graph", "embeddings", "picture"})


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

    def read(self, directory: Path) -> Snapshot:
        """Nothing to read."""

    def direction(self, metric: str) -> Mode | None:
        """None: nothing is declared."""
        del metric
        return None
