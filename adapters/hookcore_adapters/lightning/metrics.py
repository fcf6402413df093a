"""The metrics of a batch, and the new ones among those that Lightning keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import torch

from hookcore import MetricNames

NAMES: Final = MetricNames(validation=tuple(f"{name}{end}" for name in ("val", "valid", "validation", "eval") for end in "_/"))
"""The usual beginnings of the names of validation metrics, which the module chooses."""
_ADDED: Final = re.compile(r"(_step|_epoch)?(/dataloader_idx_\d+)?$")


def as_logged(name: str) -> str:
    """Return a metric's name in the module, without Lightning's `_epoch` or `_step` and the number of the data loader."""
    return _ADDED.sub("", name)


@attrs.define(eq=False)
class Fresh:
    """Finds the metrics in `trainer.callback_metrics` that are new since the last call of `take`.

    Lightning keeps what was logged before, and makes a new tensor object of each value for each access. So a value is new if its
    memory is. Seen values are kept, so that their memory is not used again.
    """

    _seen: dict[str, torch.Tensor] = attrs.field(factory=dict)

    def take(self, trainer: Any) -> dict[str, torch.Tensor]:
        """Return the new metrics, and mark them as seen."""
        found = self.look(trainer)
        self._seen |= found
        return found

    def look(self, trainer: Any) -> dict[str, torch.Tensor]:
        """Return the new metrics."""
        return {name: value for name, value in trainer.callback_metrics.items() if not self._has_seen(name, value)}

    def _has_seen(self, name: str, value: torch.Tensor) -> bool:
        seen = self._seen.get(name)
        return seen is not None and seen.data_ptr() == value.data_ptr()


class BatchMetrics(Mapping[str, Any]):
    """The metrics of one batch: the numbers that the training step returned and logged. They are collected when one is read."""

    __slots__ = ("_fresh", "_outputs", "_read", "_trainer")

    def __init__(self, trainer: Any, outputs: Any, fresh: Fresh) -> None:
        self._trainer, self._outputs, self._fresh = trainer, outputs, fresh
        self._read: dict[str, Any] | None = None

    def _all(self) -> dict[str, Any]:
        if self._read is None:
            outputs = self._outputs if isinstance(self._outputs, Mapping) else {"loss": self._outputs}
            numbers = {name: value for name, value in outputs.items() if isinstance(name, str) and _is_number(value)}
            self._read, self._outputs = numbers | self._fresh.look(self._trainer), None
        return self._read

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
