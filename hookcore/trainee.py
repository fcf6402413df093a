"""The trainee: what is trained, as an adapter presents it to portable plugins."""

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
"""What `Trainee.snapshot` returned. Only the trainee that made it looks inside."""

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
    """What portable plugins may do with what is trained. An adapter implements it.

    A trainee need not have every capability: `lacks` gives the reason for a missing one, and a plugin that needs it is refused by
    name before the first batch.
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
        """Return why `capability` is missing, as the end of a sentence, or None if the trainee has it."""
        ...

    @abstractmethod
    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Return the weights and, unless `optimizer` is False, the optimizer's state and the random state, as they are now.

        Further training does not change a snapshot: it is a copy, or refers to values that are never written to. It may have an
        attribute `nbytes`, the number of bytes that it takes on disk.
        """
        ...

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Put back what `snapshot` holds."""
        ...

    @abstractmethod
    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Write `snapshot` as files into `directory`, which exists and is empty.

        May be called on another thread during training, so it reads the snapshot and nothing that training changes.
        """
        ...

    @abstractmethod
    def read(self, directory: Path) -> Snapshot:
        """Return the snapshot that `write` wrote into `directory`, for `restore`. Does not change the trainee."""
        ...

    @abstractmethod
    def direction(self, metric: str) -> Mode | None:
        """Return the direction that the framework declares for `metric`, or None if it declares no direction."""
        ...


def reason_lacking(trainee: Trainee, capability: Capability) -> str | None:
    """Return why `trainee` lacks `capability`, as the end of a sentence, or None if it has it."""
    if capability in _VIEWS and not hasattr(trainee, capability):
        return f"a {trainee.framework} trainee does not provide that"
    return trainee.lacks(capability)


_VIEWS: Final = frozenset({"weights", "activations", "gradients", "graph", "embeddings", "picture"})


@attrs.define(eq=False)
class NoTrainee:
    """The trainee of a loop that was given no trainee: every capability is missing."""

    framework: str = "none"

    def lacks(self, capability: Capability) -> str | None:
        """Return the reason, which is the same for every capability."""
        return f"this loop was given no trainee, so it has no {capability.replace('_', ' ')}"

    @property
    def learning_rate(self) -> float:
        """Missing: raises `AttributeError`."""
        raise AttributeError("this loop was given no trainee, so it has no learning rate")

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        raise AttributeError(f"this loop was given no trainee, so its learning rate cannot be set to {value!r}")

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Return None: there is nothing to copy."""
        del optimizer

    def restore(self, snapshot: Snapshot) -> None:
        """Do nothing: there is nothing to put back."""

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Do nothing: there is nothing to write."""

    def read(self, directory: Path) -> Snapshot:
        """Return None: there is nothing to read."""

    def direction(self, metric: str) -> Mode | None:
        """Return None: nothing is declared."""
        del metric
        return None


@attrs.frozen
class Node:
    """One layer or operation of a graph."""

    name: str
    """The name, with a slash after each layer that it lies within, as in `encoder/dense`."""
    kind: str
    """The layer's class, as in `"Dense"`."""
    inputs: tuple[str, ...] = ()
    """The names of the nodes that it reads."""
    shape: tuple[int | None, ...] = ()
    """The shape of its output, None for the batch."""
    parameters: int = 0


class Views(Protocol):
    """Optional methods of a trainee, for plugins that look inside. A trainee has any of them."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Return every weight by layer and name, as in `dense/kernel`."""
        ...

    @abstractmethod
    def activations(self, data: Any, samples: int = 1) -> Arrays:
        """Return the output of each layer for the first `samples` samples of `data`, such as `run.validation_data`."""
        ...

    @abstractmethod
    def gradients(self, data: Any, samples: int = 32) -> Arrays:
        """Return the gradient of the loss on the first `samples` samples of `data` by the weight's name, for trained weights."""
        ...

    @abstractmethod
    def graph(self) -> Sequence[Node]:
        """Return the layers or operations, each after those that it reads."""
        ...

    @abstractmethod
    def embeddings(self) -> Arrays:
        """Return the matrix of each embedding layer by the layer's name: one row per word, one column per dimension."""
        ...

    @abstractmethod
    def picture(self) -> bytes:
        """Return a PNG of the model. Raises `HookcoreError`, with a hint, if a program that draws it is not installed."""
        ...
