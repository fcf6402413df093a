"""The state of all that is drawn from around a Keras model, and that no layer keeps."""

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
    """The state of the global generators, that of `keras.random` among them, and of a DataLoader's own."""

    _state: RandomState
    _seed: Any = attrs.field(default=None, repr=False)
    """The state of the generator from which `keras.random` draws without a seed, or None before it is used."""

    @classmethod
    def now(cls, generators: Sequence[Any] = ()) -> Self:
        """Return the state as it is now, with that of `generators`: see `RandomState.now`."""
        seed = internals.global_seed()
        return cls(RandomState.now(generators), None if seed is None else np.array(keras.ops.convert_to_numpy(seed)))

    def restore(self, generators: Sequence[Any] = ()) -> None:
        """Set the generators, and `generators`, to this state."""
        self._state.restore(generators)
        if self._seed is not None:
            internals.set_global_seed(self._seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values."""
        return self._state.state_dict() | ({} if self._seed is None else {"keras": self._seed.tolist()})

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state that `state_dict` returned. Raises `ValueError`, `TypeError` or `LookupError` for anything else."""
        return cls(RandomState.from_state_dict(state), valid_seed(state.get("keras")))


def valid_seed(seed: Any) -> Any:
    """Return a state of Keras's generator as an array, or None for None. Raises `ValueError` for what is no state of it."""
    if seed is None:
        return None
    if not (isinstance(seed, list) and len(seed) == 2):  # noqa: PLR2004 - as Keras has it
        raise ValueError(f"no state of Keras's generator: {seed!r}")
    return np.array([valid_number(number) for number in seed], dtype=internals.seed_dtype())


def valid_number(number: Any) -> int:
    """Return `number`. Raises `ValueError` if it does not fit 32 bits."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
        raise ValueError(f"{number!r} is no number between 0 and 2**32")
    return number
