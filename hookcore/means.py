"""Means over the batches of an epoch or of an evaluation, and metrics that are logged outside of a batch."""

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
    """Sums over some batches, each with its count, and what was logged outside of a batch."""

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

    Metrics since the latest observation are kept apart from those before it. Tensors are added up on their own devices, so that
    nothing waits for a device.
    """

    _fresh: _Part = attrs.field(factory=_Part)
    _before: _Part | None = None
    """Everything up to the latest observation; None before the first."""
    _batch: dict[str, Any] | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the means that `state_dict` was called on."""
        before = state.get("before")
        return cls(_Part.of(state), None if before is None else _Part.of(before))

    def state_dict(self) -> dict[str, Any]:
        """Return the means so far, as JSON-able values.

        A 32-bit sum is restored as a number that computes in 32 bits, so that the mean of a resumed run equals that of a run that
        was never cut, bit for bit.
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
        """Open a batch: what is logged from now on belongs to it."""
        self._batch = {}

    def end_batch(self) -> dict[str, Any]:
        """Close the batch, add its metrics to the means, and return them. Raises `MetricError` for values that do not add up."""
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
        """Return the means over all batches, and what was logged outside of a batch, which wins over a mean of that name."""
        return (self._fresh if self._before is None else self._before.followed_by(self._fresh)).metrics()

    def take_fresh(self) -> dict[str, Any]:
        """Return the same since the latest call of this method, or since the beginning, for an observation."""
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
    """A 32-bit sum that was read from a checkpoint. Its sums and quotients have 32 bits too.

    Python computes in 64 bits; for a sum or a quotient of 32-bit numbers, rounding that to 32 bits gives the exact 32-bit result.
    """

    def __add__(self, other: Any) -> Any:
        plain = float(self) + other  # for a tensor, the tensor's own sum: it may not accept this class
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
    if not hasattr(value, "astype") or getattr(value, "dtype", None) == "float32":  # converting to the same type takes JAX 5 us
        return value
    return value.astype("float32")
