"""Means over the batches of an epoch or of an evaluation, beside metrics that are no means."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.metrics import Metrics, check, no_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


@attrs.define
class _Part:
    """Sums over some batches with how many there were, and what was logged outside of them."""

    own: dict[str, Any] = attrs.field(factory=dict)
    sums: dict[str, tuple[Any, int]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        sums = {name: (_Single(total) if single else total, count) for name, (total, count, *single) in state["sums"].items()}
        return cls(dict(state["own"]), sums)

    def state_dict(self) -> dict[str, Any]:
        sums = {
            part: [value, count, *(["float32"] if _is_single(total) else [])]
            for name, (total, count) in self.sums.items()
            for part, value in Metrics({name: total}).items()
        }
        return {"own": dict(Metrics(self.own)), "sums": sums}

    def metrics(self) -> dict[str, Any]:
        return {name: total / count for name, (total, count) in self.sums.items()} | self.own

    def followed_by(self, later: _Part) -> _Part:
        sums = dict(self.sums)
        for name, (total, count) in later.sums.items():
            before, counted = sums.get(name, (0.0, 0))
            sums[name] = (before + total, counted + count)
        return _Part(self.own | later.own, sums)


@attrs.define
class Means:
    """The metrics of an epoch or of an evaluation: means over its batches, and what was logged outside of a batch.

    Those since the latest observation are kept apart from those before it. Tensors are added up where they are, so that nothing
    waits for a device.
    """

    _fresh: _Part = attrs.field(factory=_Part)
    _before: _Part | None = None
    """What the latest observation took; None before the first."""
    _batch: dict[str, Any] | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the means that `state_dict` was called on."""
        before = state.get("before")
        return cls(_Part.of(state), None if before is None else _Part.of(before))

    def state_dict(self) -> dict[str, Any]:
        """Return the means so far, as JSON-able values.

        A sum in 32 bits comes back as a number of the same value, to which a tensor is added in its own 32 bits, and which is
        divided in 32 bits if none follows: the resumed mean is that of a run that was never cut, bit for bit.
        """
        return self._fresh.state_dict() | ({} if self._before is None else {"before": self._before.state_dict()})

    @property
    def is_in_batch(self) -> bool:
        """Whether a batch is open."""
        return self._batch is not None

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add metrics to the open batch, or to those outside of a batch, which win over a mean of the same name."""
        if self._batch is not None:
            self._batch.update(metrics)
            return
        for name, value in metrics.items():
            check(name, value)
        self._fresh.own.update(metrics)

    def begin_batch(self) -> None:
        """Open a batch: what is logged from now on is its."""
        self._batch = {}

    def end_batch(self) -> dict[str, Any]:
        """Close the batch and return its metrics, which count in the means. Raises `MetricError` for what cannot be added up."""
        batch, self._batch = self._batch or {}, None
        sums = self._fresh.sums
        for name, value in batch.items():
            if name not in sums:
                check(name, value)
            total, count = sums.get(name, (0.0, 0))
            try:
                sums[name] = (total + _widened(value), count + 1)
            except (OverflowError, TypeError, ValueError) as error:
                raise no_number(name, value) from error
        return batch

    def metrics(self) -> dict[str, Any]:
        """Return the means over all batches, and over them what was logged outside of one."""
        return (self._fresh if self._before is None else self._before.followed_by(self._fresh)).metrics()

    def take_fresh(self) -> dict[str, Any]:
        """Return the same since the latest call, or since the beginning, for an observation."""
        fresh, self._fresh = self._fresh, _Part()
        self._before = fresh if self._before is None else self._before.followed_by(fresh)
        return fresh.metrics()

    def has_mean(self, name: str) -> bool:
        """Return whether `name` is a mean over batches."""
        return name in self._fresh.sums or (self._before is not None and name in self._before.sums)

    @property
    def was_observed(self) -> bool:
        """Whether `take_fresh` was called."""
        return self._before is not None


class _Single(float):
    """A sum in 32 bits that was read from a checkpoint: what is computed with it has 32 bits too.

    Python computes in 64, and rounding that again is exact for a sum and a quotient of numbers of 32 bits.
    """

    def __add__(self, other: Any) -> Any:
        plain = float(self) + other  # a tensor's own sum: it may not know what this class is
        return _Single(_rounded(plain)) if isinstance(other, int | float) else plain

    __radd__ = __add__

    def __truediv__(self, other: Any) -> Any:
        return _rounded(float(self) / other)


def _rounded(value: float) -> float:
    try:
        rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return value * float("inf")
    return rounded


def _is_single(total: Any) -> bool:
    return isinstance(total, _Single) or str(getattr(total, "dtype", "")).endswith("float32")


def _widened(value: Any) -> Any:
    """Convert `value` to a type in which many of its kind can be added up, without waiting for a tensor's device."""
    if hasattr(value, "__array_interface__"):  # NumPy
        return float(value)
    if hasattr(value, "detach"):  # PyTorch
        return value.detach().float()
    if not hasattr(value, "astype") or getattr(value, "dtype", None) == "float32":  # a conversion to the same takes JAX 5 us
        return value
    return value.astype("float32")
