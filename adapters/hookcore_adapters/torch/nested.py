"""Split nested state, such as that of an optimizer, into tensors and values for JSON, and join it again. Pickle is not used.

`hookcore.skeleton` does the work. The `Counter` and the NumPy numbers in PyTorch's schedulers become a dict and Python numbers,
and `alike` converts a dict back to the type that the object uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from hookcore import skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen(eq=False)
class Nested:
    """A nested state at one moment: its skeleton, which JSON can hold, and copies of its tensors in host memory."""

    skeleton: Any = attrs.field(repr=False)
    tensors: Sequence[torch.Tensor] = attrs.field(repr=False)

    def joined(self) -> Any:
        """Return the state in new containers, with these tensors. Raises `ValueError` for a damaged skeleton."""
        return skeleton.join(self.skeleton, self.tensors)

    def copy(self) -> Any:
        """Return the state in new containers, with new tensors."""
        return skeleton.join(self.skeleton, [tensor.clone() for tensor in self.tensors])


def split(state: Any) -> tuple[Any, list[torch.Tensor]]:
    """Return the skeleton of `state`, and its tensors, not copied.

    Raises `TypeError` that names the place of an unsupported value.
    """
    return skeleton.split(_plain(state), torch.is_tensor)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def alike(saved: Any, live: Any) -> Any:
    """Return `saved` with the container types and the devices of `live`, which a `load_state_dict` may need."""
    if isinstance(saved, dict) and isinstance(live, Mapping):
        items = {key: alike(value, live.get(key)) for key, value in saved.items()}
        return items if type(live) is dict else type(live)(items)  # type: ignore[call-arg]  # such as a Counter
    if isinstance(saved, list) and isinstance(live, list) and len(saved) == len(live):
        return [alike(*pair) for pair in zip(saved, live, strict=True)]
    return saved.to(live.device) if torch.is_tensor(saved) and torch.is_tensor(live) else saved
