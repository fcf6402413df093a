"""The history of a run: a row of metrics for each observation."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.errors import MetricError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@attrs.define(eq=False)
class History:
    """The metrics of every observation: `history["val_loss"]` is a list of floats, one per row.

    A loop that evaluates once per epoch has a row for each epoch; one that evaluates by steps also has a row for each evaluation.
    A metric that a row lacks is NaN there; `rows` leaves it out, which tells it from a metric that was NaN. `epochs`, `steps`,
    `by_steps` and `learning_rates` have one value per row. `epochs` begins above 0 if the run was given an initial epoch, or was
    resumed without the earlier history.
    """

    epochs: list[int] = attrs.field(factory=list, init=False)
    """The epoch of each row, counted from zero."""
    steps: list[int | None] = attrs.field(factory=list, init=False)
    """The number of optimizer updates before each row; None in rows of an earlier version, which did not record it."""
    by_steps: list[bool] = attrs.field(factory=list, init=False)
    """Whether each row was observed by steps, within its epoch, and not at the epoch's end."""
    learning_rates: list[float | None] = attrs.field(factory=list, init=False)
    """The learning rate at each row, before a plugin changed it; None if the trainee lacks one or it could not be read."""
    _columns: dict[str, array[float]] = attrs.field(factory=dict, init=False)
    _absent: dict[str, array[int]] = attrs.field(factory=dict, init=False)
    """By metric, the rows that lack it, in order."""

    def append(
        self,
        epoch: int,
        metrics: Mapping[str, float],
        step: int | None = None,
        *,
        by_steps: bool = False,
        learning_rate: float | None = None,
    ) -> None:
        """Add a row."""
        floats = dict(metrics.items())
        self._add_columns(floats)
        self.epochs.append(epoch)
        self.steps.append(step)
        self.by_steps.append(by_steps)
        self.learning_rates.append(learning_rate)
        for name, column in self._columns.items():
            if name in floats:
                column.append(floats[name])
            else:
                self._absent.setdefault(name, array("q")).append(len(column))
                column.append(math.nan)

    def put(self, metrics: Mapping[str, float]) -> None:
        """Put `metrics` into the latest row."""
        self._add_columns(metrics)
        for name, value in metrics.items():
            self._columns[name][-1] = value
            absent = self._absent.get(name)
            if absent and absent[-1] == len(self) - 1:
                absent.pop()

    def _add_columns(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._columns:
                self._columns[name] = array("d", [math.nan]) * len(self.epochs)
                self._absent[name] = array("q", range(len(self.epochs)))

    def rows(self) -> Iterator[dict[str, float]]:
        """Yield the metrics of each row, without those that it lacks."""
        lacking: dict[int, list[str]] = {}
        for name, absent in self._absent.items():
            for row in absent:
                lacking.setdefault(row, []).append(name)
        names = tuple(self._columns)
        for row, values in enumerate(zip(*self._columns.values(), strict=True) if names else ((),) * len(self)):
            metrics = dict(zip(names, values, strict=True))
            for name in lacking.get(row, ()):
                del metrics[name]
            yield metrics

    def has_end_of(self, epoch: int) -> bool:
        """Return whether the latest row is that of the end of `epoch`. An end at which nothing was fresh has no row."""
        return self.epochs[-1:] == [epoch] and not self.by_steps[-1]

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._columns:
            raise MetricError(
                f"No metric {name!r} in the history; there are {sorted(self._columns)}.{did_you_mean(name, self._columns)}"
            )
        return self._columns[name].tolist()

    def last(self) -> dict[str, float]:
        """Return the metrics of the latest row, NaN for those that it lacks; an empty dict before the first row."""
        return {name: column[-1] for name, column in self._columns.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole history as JSON-able values."""
        return {
            **{name: list(getattr(self, name)) for name in ("epochs", *_LATER)},
            "metrics": {name: column.tolist() for name, column in self._columns.items()},
            "absent": {name: absent.tolist() for name, absent in self._absent.items() if absent},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the history that `state_dict` returned, in this version or an earlier one, which recorded less.

        An earlier version did not record which metrics a row lacks: they are taken to be those that are NaN.
        Raises `ValueError` if a column does not have one value per row.
        """
        epochs = list(state["epochs"])
        about = {name: list(state.get(name, [absent] * len(epochs))) for name, absent in _LATER.items()}
        columns = {name: array("d", values) for name, values in state["metrics"].items()}
        lengths = [len(column) for column in (*about.values(), *columns.values())]
        if any(length != len(epochs) for length in lengths):
            raise ValueError(f"a history of {len(epochs)} rows has columns of {lengths} values")
        told = state.get("absent")
        absent = {}
        for name, column in columns.items():
            nan = [row for row, value in enumerate(column) if math.isnan(value)]
            absent[name] = array("q", nan if told is None else sorted(set(told.get(name, ())).intersection(nan)))
        for name, values in about.items():
            setattr(self, name, values)
        self.epochs, self._columns = epochs, columns
        self._absent = absent


_LATER: dict[str, Any] = {"steps": None, "by_steps": False, "learning_rates": None}
"""What earlier versions did not record of a row, with the values to use instead."""
