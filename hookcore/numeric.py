"""Convert numbers to Python's own: those of NumPy, and those in arrays and tensors without dimensions.

They are recognised by their behaviour, so no library is imported.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any


def unwrapped(value: Any) -> Any:
    """Return Python's value for a NumPy scalar, or for an array or tensor without dimensions; anything else unchanged."""
    try:
        if isinstance(value, type) or len(value.shape):
            return value
        return value.item() if hasattr(value, "item") else value.numpy().item()  # TensorFlow has no `item`
    except Exception:  # noqa: BLE001 - it has no shape, or a framework raises something for a value that is not computed yet
        return value


def number_of(value: Any) -> int | float | None:
    """Return a real number as Python's int or float; None for anything else: a bool, a string, an array with dimensions."""
    if type(value) is int or type(value) is float:
        return value
    plain = unwrapped(value)
    if isinstance(plain, bool) or getattr(plain, "shape", ()) != ():
        return None  # a tensor of one element has an `__index__`, whatever its shape
    is_integer = hasattr(type(plain), "__index__")
    if not (is_integer or isinstance(plain, numbers.Real) or hasattr(type(plain), "__float__")):
        return None
    try:
        return operator.index(plain) if is_integer else float(plain)
    except Exception:  # noqa: BLE001 - too large for a float, or whatever its own method raises
        return None


def integer_of(value: Any) -> int | None:
    """Return a number that is an integer by its type, not only by its value, as Python's int; None for anything else."""
    number = number_of(value)
    return number if isinstance(number, int) else None


def is_finite(number: float) -> bool:
    """Return whether `number` is finite: not NaN, not infinite, and not an int that is too large for a float."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
