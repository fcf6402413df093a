"""The arguments of Keras's callbacks, checked and converted as Keras does."""

from __future__ import annotations

import math
import os
import sys
import warnings
from typing import Any, Literal

from hookcore.numeric import integer_of
from hookcore.paths import problem_of


def as_number(owner: object, **given: Any) -> float:
    """Return the single parameter in `given` as a float. Raises `TypeError` that names it if it is not a number."""
    ((name, value),) = given.items()
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{type(owner).__name__}: {name} must be a number, got {value!r}.")


def as_count(owner: object, **given: Any) -> int:
    """Return a count as an int. Keras accepts any number; infinity is a count that is never reached."""
    value = as_number(owner, **given)
    return sys.maxsize if value == math.inf else math.ceil(value)


def as_frequency(owner: object, least: int = 0, **given: Any) -> int:
    """Return an interval in epochs or batches as an int. Raises `ValueError` if it is less than `least`."""
    ((name, value),) = given.items()
    if not as_number(owner, **given) >= least:  # NaN too
        raise ValueError(f"{type(owner).__name__}: {name} must be a number of at least {least}, got {value!r}.")
    return as_count(owner, **given)


def local_path(path: str | os.PathLike[str]) -> str:
    """Return `path` as a string, with `~` replaced by the home directory. Raises `ValueError` for a URL such as `gs://…`."""
    plain = os.fspath(path)
    problem = problem_of(plain)
    if problem is not None:
        raise ValueError(f"{plain!r} is not a local path: it must be {problem[0]}.{problem[1]} Or use keras.callbacks.")
    return os.path.expanduser(plain)  # noqa: PTH111 - not normalized, because scripts compare it with their argument


def mode_or_auto(owner: object, mode: str) -> Literal["auto", "min", "max"]:
    """Return `mode`, or `"auto"` with Keras's warning if it is unknown."""
    if mode in {"auto", "min", "max"}:
        return mode  # type: ignore[return-value]  # one of the three
    warnings.warn(f"{type(owner).__name__} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
    return "auto"


def valid_save_freq(text: str, value: Any) -> Literal["epoch"] | int:
    """Return `value` as a `save_freq`. Raises `ValueError`, with Keras's `text`, if it is neither `"epoch"` nor a count."""
    if isinstance(value, str) and value == "epoch":
        return "epoch"
    number = integer_of(value)
    if number is None or number < 1:
        raise ValueError(text.format(value))
    return number
