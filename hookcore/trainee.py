"""The trainee: the thing being trained, as an adapter presents it to portable plugins."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        raise AttributeError("this loop was given no trainee, so it has no learning rate")

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        raise AttributeError(f"this loop was given no trainee, so its learning rate cannot be set to {value!r}")

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


@attrs.frozen
class Node:
    """One layer or operation of a graph."""

    name: str
    """With slashes where it lies within another, as in `encoder/dense`."""
    kind: str
    """The layer's class, as in `"Dense"`."""
    inputs: tuple[str, ...] = ()
    """The names of the nodes that it reads."""
    shape: tuple[int | None, ...] = ()
    """The shape of its output, None for the batch."""
    parameters: int = 0


class Views(Protocol):
    """What a trainee may have besides, for plugins that look inside. Each method is there or not."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Every weight by layer and name, as in `dense/kernel`."""
        ...

    @abstractmethod
    def activations(self, data: Any, samples: int = 1) -> Arrays:
        """The output of each layer for the first samples of `data`, which is what `run.validation_data` holds."""
        ...

    @abstractmethod
    def gradients(self, data: Any, samples: int = 32) -> Arrays:
        """The gradient of the loss on the first samples of `data` for each trained weight, by the names of `weights`."""
        ...

    @abstractmethod
    def graph(self) -> Sequence[Node]:
        """The layers or operations, those that are read before those that read them."""
        ...

    @abstractmethod
    def embeddings(self) -> Arrays:
        """The matrix of each embedding layer by the layer's name: one row a word, one column a dimension."""
        ...

    @abstractmethod
    def picture(self) -> bytes:
        """A PNG of the model. Raises `HookcoreError` with a hint where a program for that is not installed."""
        ...
