"""The state of an estimator, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def state_of(value: Any) -> Any:
    """Return `value`, such as an estimator, as plain values: arrays by type, shape and bytes, objects by their attributes."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {name: state_of(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, list | tuple | np.ndarray):
        return [state_of(one) for one in value]
    if isinstance(value, np.random.RandomState):
        return state_of(value.get_state(legacy=False))
    if hasattr(value, "__dict__"):
        return type(value).__name__, state_of(vars(value))
    return repr(value) if isinstance(value, bool | int | float | str | np.generic | None) else type(value).__name__
