"""Which of the metrics that Lightning keeps are new, and what a batch gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import torch

from hookcore import MetricNames

NAMES: Final = MetricNames(validation=tuple(f"{name}{end}" for name in ("val", "valid", "validation", "eval") for end in "_/"))
"""How the names of validation metrics begin, which the module chooses."""
_ADDED: Final = re.compile(r"(_step|_epoch)?(/dataloader_idx_\d+)?$")


def as_logged(name: str) -> str:
    """Return a metric's name as the module gave it: Lightning adds `_epoch` or `_step`, and the number of the data loader."""
    return _ADDED.sub("", name)


@attrs.define(eq=False)
class Fresh:
    """Tells which of `trainer.callback_metrics` are new since it was last asked.

    Lightning keeps what was logged before, and makes another tensor of each value whenever a callback looks: a value is new if
    its memory is. What was seen is kept, so that no other value gets its memory.
    """

    _seen: dict[str, torch.Tensor] = attrs.field(factory=dict)

    def take(self, trainer: Any) -> dict[str, torch.Tensor]:
        """Return the new ones, and take them for seen from now on."""
        found = self.look(trainer)
        self._seen |= found
        return found

    def look(self, trainer: Any) -> dict[str, torch.Tensor]:
        """Return the new ones."""
        return {name: value for name, value in trainer.callback_metrics.items() if not self._has_seen(name, value)}

    def _has_seen(self, name: str, value: torch.Tensor) -> bool:
        seen = self._seen.get(name)
        return seen is not None and seen.data_ptr() == value.data_ptr()


class BatchMetrics(Mapping[str, Any]):
    """The metrics of one batch: the numbers that the training step returned, and what it logged. Collected when one is read."""

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
