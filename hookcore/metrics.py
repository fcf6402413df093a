"""Metrics as plugins see them: a mapping of floats that is converted from the framework's values when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hookcore.errors import MetricError

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator


class Metrics(Mapping[str, float]):
    """A read-only mapping of floats over a framework's own values. Each value is converted once, when it is first read.

    A nested mapping is flattened without a prefix; if a name is both inside and outside of it, the value outside counts. A value
    with several elements, such as a metric per class, appears as `name_0`, `name_1` and so on. Reading raises `MetricError` for a
    value that is not a number.
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


def extend(metrics: Metrics, more: Mapping[str, float]) -> None:
    """Add `more` to what `metrics` has. For the engine: to plugins they are read-only."""
    metrics._all().update(more)  # noqa: SLF001 - a method would be there for plugins too


_HAS_ITEM: Final[dict[type, bool]] = {}
"""Whether values of a type have `item`. Cached, because asking a TensorFlow value takes longer than converting it."""


def _scalar(value: Any) -> float | None:
    """Convert a number, or a framework's value without dimensions, to a float in the fastest way; None for anything else."""
    kind = type(value)
    if kind is float:
        number: float = value
        return number
    if kind is not int:
        # NumPy deprecates float() of an array with one element, and drops the imaginary part of a complex number.
        shape = getattr(value, "shape", None)
        if shape is None or len(shape):
            return None
        if kind not in _HAS_ITEM:
            _HAS_ITEM[kind] = hasattr(kind, "item")
    try:
        return float(value.item() if _HAS_ITEM.get(kind) else value)
    except (OverflowError, TypeError, ValueError):
        return None


def _flatten(raw: Mapping[str, Any], known: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in raw.items():
        scalar = known[name] if name in known else _scalar(value)
        if scalar is not None:
            yield name, scalar
        elif isinstance(value, Mapping):
            yield from ((inner, number) for inner, number in _flatten(value, {}) if inner not in raw)
        elif math.prod(getattr(value, "shape", ())) != 1:
            for i, element in enumerate(value):
                yield from _flatten({f"{name}_{i}": element}, {})
        else:
            try:
                yield name, float(value.item() if hasattr(value, "item") else value)
            except (OverflowError, TypeError, ValueError) as error:
                raise MetricError(f"Metric {name!r} must be a number, got {value!r}.") from error
