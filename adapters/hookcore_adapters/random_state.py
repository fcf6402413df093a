"""The random numbers that data and augmentations draw, and no layer's seed generator keeps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_NUMBERS: Final = 624
"""The words of a Mersenne Twister's state."""


@attrs.frozen(eq=False)
class RandomState:
    """The state of Python's and of NumPy's global generator; what NumPy's is exchanged for is left alone."""

    python: Any = attrs.field(repr=False)
    numpy: Any = attrs.field(repr=False)

    @classmethod
    def now(cls) -> Self:
        """As it is now."""
        return cls(random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002 - what others draw from

    def restore(self) -> None:
        """Put it back."""
        random.setstate(self.python)
        if self.numpy is not None:
            np.random.set_state(self.numpy)  # noqa: NPY002

    def state_dict(self) -> dict[str, Any]:
        """It as JSON-able values."""
        version, numbers, spare = self.python
        state = self.numpy
        if state is None or state["bit_generator"] != "MT19937":
            return {"python": [version, list(numbers), spare], "numpy": None}
        inner = {"key": state["state"]["key"].tolist(), "pos": state["state"]["pos"]}
        return {"python": [version, list(numbers), spare], "numpy": {**state, "state": inner}}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """What `state_dict` returned. Raises `ValueError`, `TypeError` or `LookupError` for what is no such state."""
        version, numbers, spare = state["python"]
        mersenne = state["numpy"]
        try:
            if mersenne is not None:
                key, at = np.array(mersenne["state"]["key"], dtype="uint32"), mersenne["state"]["pos"]
                if mersenne["bit_generator"] != "MT19937" or not 0 <= at <= _NUMBERS:  # NumPy would read past the end
                    raise ValueError(f"no state of NumPy's generator: {mersenne['bit_generator']!r} at {at!r}")
                mersenne = {**mersenne, "state": {"key": key, "pos": at}}
                np.random.RandomState().set_state(mersenne)
            made = cls((version, tuple(numbers), spare), mersenne)
            random.Random().setstate(made.python)  # noqa: S311 - only to see whether it takes it
        except OverflowError as error:
            raise ValueError(*error.args) from error
        return made
