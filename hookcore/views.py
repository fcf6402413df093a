"""What a trainee may show of itself besides: weights, activations, gradients and its graph."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcore.trainee import Arrays


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
