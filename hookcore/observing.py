"""How a plugin observes one metric: its value, the direction that is better, and every how many steps."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hookcore.errors import HookcoreWarning, MetricError
from hookcore.text import did_you_mean
from hookcore.trainee import declared_direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.run import Run
    from hookcore.trainee import Mode

Missing: TypeAlias = Literal["error", "warn", "skip"]
"""What a plugin does if the metric that it observes is missing."""

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
"""The direction of well-known metric names, without `val_`. A name is looked up whole: a part of it never decides."""


def direction_of(run: Run, metric: str, mode: Mode | Literal["auto"]) -> Mode:
    """Return the direction in which `metric` gets better: `mode` unless it is `"auto"`, the trainee's, or that of `DIRECTIONS`.

    Raises `MetricError` if all three leave it unknown.
    """
    if mode != "auto":
        return mode
    declared = declared_direction(run.trainee, metric) or DIRECTIONS.get(metric.removeprefix("val_"))
    if declared is None:
        hint = did_you_mean(metric.removeprefix("val_"), DIRECTIONS)
        raise MetricError(
            f"{run.plugin}: monitor={metric!r} has no known direction.{hint}"
            f" {'Otherwise set' if hint else 'Set'} mode='min' or mode='max'."
        )
    return declared


def observe(run: Run, metrics: Mapping[str, float], name: str, missing: Missing = "error") -> float | None:
    """Return the value of the metric `name` at the end of an epoch, or None if the epoch has no value to observe.

    A metric that an earlier epoch had, or a `val_` metric in an epoch without validation, is not missing: it was not produced
    this time. Otherwise `missing` decides: `"error"`, the default, raises `MetricError`, `"warn"` warns, `"skip"` does neither.
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
            " Nothing was validated: pass validation data. If validation does not run every epoch, "
            "set validation_freq in fit, KerasAdapter or Loop."
        )
    if missing == "error":
        raise MetricError(msg)
    warnings.warn(msg, HookcoreWarning, stacklevel=2)
    return None


def due(every: int, step: int, last: int) -> bool:
    """Return whether a multiple of `every` lies after step `last` and not after `step`.

    If several steps come at a time and pass several multiples, they are due once.
    """
    return step // every > last // every


def learning_rate_of(run: Run) -> float | None:
    """Return the learning rate in use, or None if the trainee has no learning rate."""
    # `lacks` does not tell: a trainee may have a learning rate that plugins can read but not set.
    try:
        return run.learning_rate
    except AttributeError:
        return None
