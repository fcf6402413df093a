"""A snapshot of a Keras model, in memory."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hookcore_adapters.keras.keras_random import KerasRandom


@attrs.frozen(eq=False)
class Saved:
    """What one object of a model, such as a layer or an optimizer, stores in its file besides variables."""

    path: str
    """Its path in the file, by Keras's rules."""
    owner: Any
    own: Mapping[str, Any] | None = None
    """What its own code stores, or None if Keras's code computes it from the values of the variables."""
    assets: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)
    """Its files, such as a vocabulary, by path."""


@attrs.frozen(eq=False)
class KerasSnapshot:
    """Values of a model's variables, in the model's order: only weights, or all that training needs to continue."""

    values: list[Any] = attrs.field(repr=False)
    """None for a variable that its layer restores by its own code."""
    random: KerasRandom | None = attrs.field(default=None, repr=False)
    """The state of the random generators; None if the snapshot holds only weights."""
    nbytes: int = 0
    """The disk space that it takes, in bytes."""
    variables: Sequence[Any] = attrs.field(default=(), repr=False)
    """The variables of the values."""
    saved: Mapping[str, Sequence[Saved]] = attrs.field(factory=dict, repr=False)
    """What the objects of each file store in it."""
    built_for: Mapping[str, Sequence[int]] = attrs.field(factory=dict, repr=False)
    """The numbers of the variables for which an optimizer was built, if they do not follow from the model."""
    held: Mapping[str, Mapping[str, KerasSnapshot]] = attrs.field(factory=dict, repr=False)
    """The weights that callbacks hold, by the callback's name and a key of its choice."""

    @property
    def weights_only(self) -> bool:
        """Whether it holds only weights, without what training needs to continue."""
        return self.random is None

    @property
    def by_variable(self) -> dict[int, Any]:
        """The values that are known, by the identity of their variables."""
        pairs = zip(self.variables, self.values, strict=True)
        return {id(variable): value for variable, value in pairs if value is not None}


def value_of(variable: Any) -> Any:
    """Return a variable's present value, which does not change when training continues."""
    if keras.backend.backend() != "tensorflow":
        # PyTorch trains in place, and JAX reuses the memory.
        return np.array(keras.ops.convert_to_numpy(variable.value))
    # TensorFlow copies on write, so a value that was read does not change. On an accelerator, that copy would take its memory.
    return variable.value.read_value() if "CPU" in variable.value.device else variable.numpy()


def nbytes_of(variables: Iterable[Any]) -> int:
    """Return the number of bytes that the values of `variables` take."""
    return sum(math.prod(variable.shape) * _itemsize(variable) for variable in variables)


def _itemsize(variable: Any) -> int:
    bits = re.search(r"\d+$", str(variable.dtype))
    return 1 if bits is None else math.ceil(int(bits[0]) / 8)
