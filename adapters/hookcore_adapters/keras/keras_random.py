"""The state of all random generators outside of a Keras model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np

from hookcore_adapters.keras import internals
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self


@attrs.frozen(eq=False)
class KerasRandom:
    """The state of the global generators, including that of `keras.random`, and of a DataLoader's generators."""

    _state: RandomState
    _seed: Any = attrs.field(default=None, repr=False)
    """The state of the generator from which `keras.random` draws without a seed, or None before its first use."""

    @classmethod
    def now(cls, generators: Sequence[Any] = ()) -> Self:
        """Return the present state, with that of `generators`: see `RandomState.now`."""
        seed = internals.global_seed()
        return cls(RandomState.now(generators), None if seed is None else np.array(keras.ops.convert_to_numpy(seed)))

    def restore(self, generators: Sequence[Any] = ()) -> None:
        """Set the global generators, and `generators`, to this state."""
        self._state.restore(generators)
        if self._seed is not None:
            internals.set_global_seed(self._seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as values for JSON."""
        return self._state.state_dict() | ({} if self._seed is None else {"keras": self._seed.tolist()})

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state in a result of `state_dict`. Raises `ValueError`, `TypeError` or `LookupError` for anything else."""
        return cls(RandomState.from_state_dict(state), valid_seed(state.get("keras")))


def valid_seed(seed: Any) -> Any:
    """Return a state of Keras's generator as an array, and None for None. Raises `ValueError` for anything else."""
    if seed is None:
        return None
    if not (isinstance(seed, list) and len(seed) == 2):  # noqa: PLR2004 - as Keras has it
        raise ValueError(f"not a state of Keras's generator: {seed!r}")
    return np.array([valid_number(number) for number in seed], dtype=internals.seed_dtype())


def valid_number(number: Any) -> int:
    """Return `number`. Raises `ValueError` if it is not an unsigned integer of 32 bits."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
        raise ValueError(f"{number!r} is not an integer from 0 to 2**32 - 1")
    return number
