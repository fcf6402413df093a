"""The history of a run: the metrics of every finished epoch."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.errors import MetricError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@attrs.define(eq=False)
class History:
    """The metrics of every finished epoch: `history["val_loss"]` is a list of floats, one per epoch.

    A metric that an epoch did not produce has the value NaN there. `history.epochs` lists the epochs' numbers in the same order.
    They begin above 0 if the run was given an initial epoch, or was resumed without the earlier history.
    """

    epochs: list[int] = attrs.field(factory=list, init=False)
    _columns: dict[str, array[float]] = attrs.field(factory=dict, init=False)

    def append(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of one epoch."""
        floats = dict(metrics.items())
        for name in floats:
            if name not in self._columns:
                self._columns[name] = array("d", [math.nan]) * len(self.epochs)
        self.epochs.append(epoch)
        for name, column in self._columns.items():
            column.append(floats.get(name, math.nan))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._columns:
            raise MetricError(
                f"No metric {name!r} in the history; there are {sorted(self._columns)}.{did_you_mean(name, self._columns)}"
            )
        return self._columns[name].tolist()

    def last(self) -> dict[str, float]:
        """Return the metrics of the latest epoch; an empty dict before the first epoch ends."""
        return {name: column[-1] for name, column in self._columns.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole history as JSON-able values."""
        return {"epochs": list(self.epochs), "metrics": {name: column.tolist() for name, column in self._columns.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the history that `state_dict` returned. Raises `ValueError` if a column has not one value per epoch."""
        epochs = list(state["epochs"])
        columns = {name: array("d", values) for name, values in state["metrics"].items()}
        if any(len(column) != len(epochs) for column in columns.values()):
            raise ValueError(
                f"a history of {len(epochs)} epochs has columns of {[len(column) for column in columns.values()]} values"
            )
        self.epochs, self._columns = epochs, columns
