"""How a plugin looks at one metric: which value, in which direction, and when."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hookcore.errors import HookcoreWarning, MetricError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def direction_of(run: Run, metric: str, mode: Mode | Literal["auto"]) -> Mode:
    """The direction in which `metric` gets better: `mode`, else what the trainee declares, else `DIRECTIONS`.

    Raises `MetricError` where none of them knows.
    """
    if mode != "auto":
        return mode
    declared = run.trainee.direction(metric) or DIRECTIONS.get(metric.removeprefix("val_"))
    if declared is None:
        raise MetricError(
            f"{run.plugin}: it is not known whether {metric!r} is better when smaller or larger."
            f"{did_you_mean(metric.removeprefix('val_'), DIRECTIONS)} If the name is right, say so: mode='min' or mode='max'."
        )
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


def due(every: int, step: int, last: int) -> bool:
    """Whether a multiple of `every` was reached after step `last`, up to and including `step`.

    Steps may come several at a time; what was missed in between is due once.
    """
    return step // every > last // every


def learning_rate_of(run: Run) -> float | None:
    """Return the learning rate in use, or None if the trainee has none."""
    # A trainee may have one that plugins cannot set, so `lacks` does not tell.
    try:
        return run.learning_rate
    except AttributeError:
        return None
