"""Metrics as plugins see them: a lazily converted mapping, the history of a run, and how one metric is looked up."""

from __future__ import annotations

import math
import warnings
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from hookcore.errors import HookcoreWarning, MetricError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator

    from hookcore.run import Run
    from hookcore.trainee import Mode

Missing: TypeAlias = Literal["error", "warn", "skip"]
"""What a plugin does where the metric that it watches is not there."""

_SMALLER_IS_BETTER = (
    "loss error mse mae mape msle rmse nll perplexity wer cer "
    "mean_squared_error mean_absolute_error mean_absolute_percentage_error mean_squared_logarithmic_error "
    "root_mean_squared_error log_cosh logcosh kl_divergence hinge squared_hinge categorical_hinge poisson "
    "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy log_loss logloss error_rate"
)
_LARGER_IS_BETTER = (
    "acc accuracy auc roc_auc f1 f1_score fbeta_score precision recall r2 r2_score "
    "binary_accuracy categorical_accuracy sparse_categorical_accuracy top_k_categorical_accuracy "
    "sparse_top_k_categorical_accuracy balanced_accuracy mean_iou binary_iou one_hot_iou iou dice "
    "average_precision map bleu rouge cosine_similarity precision_at_recall recall_at_precision "
    "sensitivity_at_specificity specificity_at_sensitivity"
)
DIRECTIONS: Final[Mapping[str, Mode]] = {
    **dict.fromkeys(_SMALLER_IS_BETTER.split(), "min"),
    **dict.fromkeys(_LARGER_IS_BETTER.split(), "max"),
}
"""The direction of well-known metric names, without their `val_`. Looked up whole, never by a part of the name."""


class Metrics(Mapping[str, float]):
    """A read-only mapping of floats over a framework's own values, each converted when it is read, and once.

    A nested mapping is flattened without a prefix; a name in it gives way to the same one outside of it. A value with several
    elements, such as a metric per class, appears as `name_0`, `name_1` and so on.
    """

    __slots__ = ("_floats", "_raw")

    def __init__(self, raw: Mapping[str, Any] | None = None) -> None:
        self._raw = raw  # None from when all of them are in `_floats`
        self._floats: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        floats, raw = self._floats, self._raw
        if raw is None or name in floats:
            return floats[name]
        number = _scalar(raw.get(name))
        if number is None:
            return self._all()[name]
        floats[name] = number  # who reads one at each batch does not pay for all
        return number

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def items(self) -> ItemsView[str, float]:
        """The names and values, at once: that of `Mapping` asks for each of them by itself."""
        return self._all().items()

    def __repr__(self) -> str:
        return f"Metrics({self._all()})"

    def _all(self) -> dict[str, float]:
        if self._raw is not None:
            self._floats, self._raw = dict(_flatten(self._raw, self._floats)), None
        return self._floats


_HAS_ITEM: Final[dict[type, bool]] = {}
"""By type, as to ask a value of TensorFlow's takes longer than to convert it."""


def _scalar(value: Any) -> float | None:
    """A number, or a framework's without dimensions, as a float by the quickest way; None for anything else."""
    kind = type(value)
    if kind is float:
        number: float = value
        return number
    if kind is not int:
        # NumPy deprecates float() of an array of one element, and has it drop what a complex number has besides.
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
                msg = f"Metric {name!r} must be a number, got {value!r}."
                raise MetricError(msg) from error


@attrs.define(eq=False)
class History:
    """The metrics of every finished epoch: `history["val_loss"]` is a list of floats, one an epoch.

    Where a metric was not produced in an epoch, its value there is NaN. `history.epochs` is the number of each epoch
    in the same order, which begins later than 0 where a run was resumed elsewhere or given an initial epoch.
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
            msg = f"No metric {name!r} in the history; there are {sorted(self._columns)}.{did_you_mean(name, self._columns)}"
            raise MetricError(msg)
        return self._columns[name].tolist()

    def last(self) -> dict[str, float]:
        """The metrics of the latest epoch; empty before the first."""
        return {name: column[-1] for name, column in self._columns.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """The whole history as JSON-able values."""
        return {"epochs": list(self.epochs), "metrics": {name: column.tolist() for name, column in self._columns.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the history that `state_dict` returned. Raises `ValueError` for columns that are not as long as the epochs."""
        epochs = list(state["epochs"])
        columns = {name: array("d", values) for name, values in state["metrics"].items()}
        if any(len(column) != len(epochs) for column in columns.values()):
            msg = f"a history of {len(epochs)} epochs has columns of {[len(column) for column in columns.values()]} values"
            raise ValueError(msg)
        self.epochs, self._columns = epochs, columns


def direction_of(run: Run, metric: str, mode: Mode | Literal["auto"]) -> Mode:
    """The direction in which `metric` gets better: `mode`, else what the trainee declares, else `DIRECTIONS`.

    Raises `MetricError` where none of them knows.
    """
    if mode != "auto":
        return mode
    declared = run.trainee.direction(metric) or DIRECTIONS.get(metric.removeprefix("val_"))
    if declared is None:
        msg = (
            f"{run.plugin}: it is not known whether {metric!r} is better when smaller or larger."
            f"{did_you_mean(metric.removeprefix('val_'), DIRECTIONS)} If the name is right, say so: mode='min' or mode='max'."
        )
        raise MetricError(msg)
    return declared


def observe(run: Run, metrics: Mapping[str, float], name: str, missing: Missing = "error") -> float | None:
    """The value of the metric `name` at the end of an epoch, or None where there is nothing to observe.

    A metric that was there in an earlier epoch, or a `val_` metric in an epoch without validation, is not missing: it was
    not produced this time. Otherwise `missing` decides: `"error"` raises `MetricError`, `"warn"` warns, `"skip"` does neither.
    """
    if name in metrics:
        return metrics[name]
    expected = not name.startswith("val_") or run.validates(run.progress.epoch)
    if missing == "skip" or not expected or name in run.history:
        return None
    there = ", ".join(sorted(metrics)) or "none"
    epoch = run.progress.epoch
    msg = f"{run.plugin}: no metric {name!r} at the end of epoch {epoch + 1}; there are: {there}.{did_you_mean(name, metrics)}"
    if name.startswith("val_") and not any(other.startswith("val_") for other in metrics):
        msg += (
            " Nothing was validated: is there validation data? Where validation does not run every epoch, "
            "fit, KerasAdapter and Loop take validation_freq=n."
        )
    if missing == "error":
        raise MetricError(msg)
    warnings.warn(msg, HookcoreWarning, stacklevel=2)
    return None
