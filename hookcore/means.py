"""Means over the batches of an epoch or of an evaluation, beside metrics that are no means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from hookcore.errors import MetricError
from hookcore.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


@attrs.define
class Means:
    """The metrics of an epoch or of an evaluation: means over its batches, and what was logged outside of a batch.

    Tensors are added up where they are, so that nothing waits for a device.
    """

    own: dict[str, Any] = attrs.field(factory=dict)
    """What was logged outside of a batch, which wins over a mean of the same name."""
    _batch: dict[str, Any] | None = None
    _sums: dict[str, tuple[Any, int]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the means that `state_dict` was called on."""
        return cls(own=dict(state["own"]), sums={name: (total, count) for name, (total, count) in state["sums"].items()})

    def state_dict(self) -> dict[str, Any]:
        """Return the means so far, as JSON-able values.

        A sum in 32 bits comes back as a Python float of the same value, to which a tensor is added in its own 32 bits: the
        resumed mean is that of a run that was never cut, bit for bit.
        """
        sums = {
            part: [value, count] for name, (total, count) in self._sums.items() for part, value in Metrics({name: total}).items()
        }
        return {"own": dict(Metrics(self.own)), "sums": sums}

    @property
    def is_in_batch(self) -> bool:
        """Whether a batch is open."""
        return self._batch is not None

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add metrics to the open batch, or to `own` if none is open."""
        (self.own if self._batch is None else self._batch).update(metrics)

    def begin_batch(self) -> None:
        """Open a batch: what is logged from now on is its."""
        self._batch = {}

    def end_batch(self) -> dict[str, Any]:
        """Close the batch and return its metrics, which count in the means. Raises `MetricError` for what cannot be added up."""
        batch, self._batch = self._batch or {}, None
        for name, value in batch.items():
            total, count = self._sums.get(name, (0.0, 0))
            try:
                self._sums[name] = (total + _widened(value), count + 1)
            except TypeError as error:
                raise MetricError(f"Metric {name!r} must be a number, got {value!r}.") from error
        return batch

    def metrics(self) -> dict[str, Any]:
        """Return the means, and `own` over them."""
        return {name: total / count for name, (total, count) in self._sums.items()} | self.own


def _widened(value: Any) -> Any:
    """Convert `value` to a type in which many of its kind can be added up, without waiting for a tensor's device."""
    if hasattr(value, "__array_interface__"):  # NumPy
        return float(value)
    if hasattr(value, "detach"):  # PyTorch
        return value.detach().float()
    return value.astype("float32") if hasattr(value, "astype") else value
