"""The arguments of Keras's callbacks, checked and converted as Keras does."""

from __future__ import annotations

import math
import os
import sys
import warnings
from typing import Any, Literal


def as_number(owner: object, **given: Any) -> float:
    """Return the one parameter `given` as a float. Raises `TypeError`, which names it, if it is not a number."""
    ((name, value),) = given.items()
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{type(owner).__name__}: {name} must be a number, got {value!r}.")


def as_count(owner: object, **given: Any) -> int:
    """Return a count as an int. Keras takes any number, infinity too, which stands for a count that is never reached."""
    value = as_number(owner, **given)
    return sys.maxsize if value == math.inf else math.ceil(value)


def local_path(path: str | os.PathLike[str]) -> str:
    """Return `path` as a string. Raises `ValueError` for an address such as `gs://…`."""
    plain = os.fspath(path)
    if "://" in plain:
        raise ValueError(
            f"{plain} is not a local path, and only a local file can be replaced as a whole. "
            "Give a local path, or use keras.callbacks."
        )
    return plain


def mode_or_auto(owner: object, mode: str) -> Literal["auto", "min", "max"]:
    """Return `mode`, or `"auto"` with Keras's warning if it is unknown."""
    if mode in {"auto", "min", "max"}:
        return mode  # type: ignore[return-value]  # one of the three
    warnings.warn(f"{type(owner).__name__} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
    return "auto"


def valid_save_freq(text: str, value: Any) -> Literal["epoch"] | int:
    """Return `value` as a `save_freq`. Raises `ValueError`, with Keras's `text`, if it is neither `"epoch"` nor a count."""
    if value == "epoch":
        return "epoch"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(text.format(value))
    return value
