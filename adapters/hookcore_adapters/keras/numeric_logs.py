"""The logs that Keras passes to callbacks, and the numbers in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

Logs: TypeAlias = Mapping[str, Any] | None


def numeric_logs(logs: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return the numbers in `logs`, and the arrays of numbers. Callbacks may add other values, which Keras ignores."""
    return {name: value for name, value in (logs or {}).items() if isinstance(name, str) and _is_numeric(value)}


def _is_numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf"
    return isinstance(value, int | float) or keras.ops.is_tensor(value)
