"""The state of the generators from which data and augmentations draw, and which no layer keeps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_TWISTER_WORDS: Final = 624


@attrs.frozen(eq=False)
class RandomState:
    """The state of Python's and of NumPy's global generator; another NumPy generator than the default is left alone."""

    python: Any = attrs.field(repr=False)
    numpy: Any = attrs.field(repr=False)

    @classmethod
    def now(cls) -> Self:
        """Return the state as it is now."""
        return cls(random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002 - what others draw from

    def restore(self) -> None:
        """Set both generators to this state."""
        random.setstate(self.python)
        if self.numpy is not None:
            np.random.set_state(self.numpy)  # noqa: NPY002

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values."""
        version, numbers, spare = self.python
        state = self.numpy
        if state is None or state["bit_generator"] != "MT19937":
            return {"python": [version, list(numbers), spare], "numpy": None}
        inner = {"key": state["state"]["key"].tolist(), "pos": state["state"]["pos"]}
        return {"python": [version, list(numbers), spare], "numpy": {**state, "state": inner}}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state that `state_dict` returned. Raises `ValueError`, `TypeError` or `LookupError` for anything else."""
        version, numbers, spare = state["python"]
        mersenne = state["numpy"]
        try:
            if mersenne is not None:
                key, index = np.array(mersenne["state"]["key"], dtype="uint32"), mersenne["state"]["pos"]
                if mersenne["bit_generator"] != "MT19937" or not 0 <= index <= _TWISTER_WORDS:  # NumPy would read past the end
                    raise ValueError(f"no state of NumPy's generator: {mersenne['bit_generator']!r} at {index!r}")
                mersenne = {**mersenne, "state": {"key": key, "pos": index}}
                np.random.RandomState().set_state(mersenne)
            restored = cls((version, tuple(numbers), spare), mersenne)
            random.Random().setstate(restored.python)  # noqa: S311 - only to see whether the state is valid
        except OverflowError as error:
            raise ValueError(*error.args) from error
        return restored
