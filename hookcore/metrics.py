"""Metrics as plugins see them: a mapping of floats that is converted from the framework's values when it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hookcore.errors import MetricError
from hookcore.numeric import is_finite
from hookcore.text import printable

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator


MAX_ELEMENTS: Final = 10_000
"""The most elements that a metric's array or tensor may have: each becomes one metric, and a column in every log."""
_UNWRITABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and line ends, which would break a row of a log, or the terminal."""


class Metrics(Mapping[str, float]):
    """A read-only mapping of floats over a framework's own values. Each value is converted once, when it is first read.

    A nested mapping is flattened without a prefix; if a name is both inside and outside of it, the value outside counts. A value
    with several elements, such as a metric per class, appears as `name_0`, `name_1` and so on. Reading raises `MetricError` for a
    value that is not a real number or has more than `MAX_ELEMENTS` elements, and for a name that is not a string in one line.
    """

    __slots__ = ("_floats", "_raw")

    def __init__(self, raw: Mapping[str, Any] | None = None) -> None:
        self._raw = raw  # None once every value is in `_floats`
        self._floats: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        floats, raw = self._floats, self._raw
        if raw is None or name in floats:
            return floats[name]
        number = _scalar(raw.get(name))
        if number is None:
            return self._all()[name]
        floats[name] = number  # a plugin that reads one metric per batch does not pay for the others
        return number

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def items(self) -> ItemsView[str, float]:
        """Return the names and values. Faster than `Mapping.items`, which looks up each name."""
        return self._all().items()

    def __repr__(self) -> str:
        return f"Metrics({self._all()})"

    def _all(self) -> dict[str, float]:
        if self._raw is not None:
            self._floats, self._raw = dict(_flatten(self._raw, self._floats)), None
        return self._floats


def of_floats(floats: dict[str, float]) -> Metrics:
    """Return `floats` as metrics, without a copy: for a caller that reuses the same dict and has checked its names."""
    metrics = Metrics()
    metrics._floats = floats  # noqa: SLF001 - never changed: see `extend`
    return metrics


def extend(metrics: Metrics, more: Mapping[str, float]) -> None:
    """Add `more` to `metrics`. Only for the engine, because metrics are read-only for plugins."""
    # Replaces the dict, because a plugin may be iterating over it.
    metrics._floats = {**metrics._all(), **more}  # noqa: SLF001 - plugins could call a method


_HAS_ITEM: Final[dict[type, bool]] = {}
"""By type, whether its values have `item`. Cached, because asking a TensorFlow value takes longer than converting it."""


def check(name: Any, value: Any) -> None:
    """Raise `MetricError` for a name that no log could write, and for a value that is not a real number, even if it converts.

    Called for metrics that people log, so that a mistake shows at once; no value is read. Conversion does not check this, because
    that would take a fifth longer: `float` of a TensorFlow value drops an imaginary part.
    """
    _check_name(name)
    if isinstance(value, str | complex) or "complex" in str(getattr(value, "dtype", "")):
        raise no_number(name, value)
    if type(value) is int and not is_finite(value):
        raise no_number(name, value)


def no_number(name: str, value: Any) -> MetricError:
    """Return the error for a metric whose `value` is not a real number that fits a float."""
    try:
        shown = " ".join(repr(value).split())
    except ValueError:  # Python refuses to format an int of thousands of digits
        shown = f"{type(value).__name__} of {value.bit_length()} bits"
    return MetricError(f"Metric {name!r} must be a number, got {printable(shown, 100)}.")


def _check_name(name: Any) -> None:
    if type(name) is str and name.isprintable():  # almost always, and cheap
        return
    if not isinstance(name, str) or _UNWRITABLE.search(name):
        raise MetricError(f"The name of a metric must be a string in one line, without control characters, got {name!r}.")


def _scalar(value: Any) -> float | None:
    """Return a number, or a framework's value without dimensions, as a float, in the fastest way; None for anything else."""
    kind = type(value)
    if kind is float:
        number: float = value
        return number
    try:
        if kind is int:
            return float(value)
        # NumPy deprecates float() of an array with one element, and drops the imaginary part of a complex number.
        shape = getattr(value, "shape", None)
        if shape is None or len(shape):
            return None
        if kind not in _HAS_ITEM:
            _HAS_ITEM[kind] = hasattr(kind, "item")
        return float(value.item() if _HAS_ITEM[kind] else value)
    except (OverflowError, TypeError, ValueError):
        return None


def _flatten(raw: Mapping[str, Any], known: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in raw.items():
        _check_name(name)
        scalar = known[name] if name in known else _scalar(value)
        if scalar is not None:
            yield name, scalar
        elif isinstance(value, Mapping):
            yield from ((inner, number) for inner, number in _flatten(value, {}) if inner not in raw)
        elif (size := math.prod(getattr(value, "shape", ()))) != 1:
            if size > MAX_ELEMENTS:
                raise MetricError(
                    f"Metric {name!r} has {size} elements, each of which would become a metric: at most {MAX_ELEMENTS} are "
                    "allowed. Log their mean, or a few of them."
                )
            for i, element in enumerate(value):
                yield from _flatten({f"{name}_{i}": element}, {})
        else:
            check(name, value)
            try:
                yield name, float(value.item() if hasattr(value, "item") else value)
            except (OverflowError, TypeError, ValueError) as error:
                raise no_number(name, value) from error
