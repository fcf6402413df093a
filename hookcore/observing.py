"""How a plugin observes one metric: its value, the direction that is better, and when to act."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hookcore.errors import HookcoreWarning, MetricError
from hookcore.metric_names import MetricNames
from hookcore.text import did_you_mean
from hookcore.trainee import declared_direction, learning_rate_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.monitor import Monitor
    from hookcore.run import Run
    from hookcore.trainee import Mode

logger = logging.getLogger("hookcore")

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
"""The direction of well-known metric names, without a prefix such as `val_`. A name is looked up whole, never in parts."""
_USUAL: Final = MetricNames()


def direction_of(run: Run, metric: str, mode: Mode | Literal["auto"]) -> Mode:
    """Return the direction in which `metric` gets better: `mode`, or for `"auto"` the trainee's or that in `DIRECTIONS`.

    Raises `MetricError` if the direction is unknown. If `mode` contradicts the known direction, the log warns, once per run and
    plugin.
    """
    plain = run.metric_names.plain(metric)
    declared = declared_direction(run.trainee, metric) or declared_direction(run.trainee, plain)
    declared = declared or DIRECTIONS.get(plain) or DIRECTIONS.get(_USUAL.plain(metric))  # `val_loss`, whatever the loop's names
    if mode != "auto":
        if declared not in {None, mode} and run.plugin not in run.shared.contradicting:
            run.shared.contradicting.add(run.plugin)
            logger.warning(
                "%s: mode=%r contradicts what is known of monitor=%r, for which %r is better; the given mode counts. "
                "If that was not meant, set mode=%r.",
                *(run.plugin, mode, metric, declared, declared),
            )
        return mode
    if declared is None:
        import difflib

        # `loss2` and `edit_distance` are no slips of `loss` and `dice`, and a metric that there was is spelled right.
        slips = difflib.get_close_matches(plain, [known for known in DIRECTIONS if known not in plain], n=1, cutoff=0.8)
        hint = did_you_mean(plain, [] if metric in run.history else slips, metric.removesuffix(plain))
        raise MetricError(
            f"{run.plugin}: monitor={metric!r} has no known direction.{hint}"
            f" {'Otherwise set' if hint else 'Set'} mode='min' or mode='max'."
        )
    return declared


def observe(run: Run, metrics: Mapping[str, float], name: str, missing: Missing = "error") -> float | None:
    """Return the value of the metric `name` in an observation, or None if it has no value now.

    A metric that an earlier observation had is not missing, but was not produced this time. A validation metric is not missing
    either if no validation was due, by `validation_freq` or because the loop validates by steps, and no other metric with its
    prefix was produced. Otherwise `missing` decides: `"error"`, the default, raises `MetricError`, `"warn"` warns, and `"skip"`
    does neither.
    """
    if name in metrics:
        return metrics[name]
    if missing == "skip" or name in run.history:
        return None
    names, history = run.metric_names, run.history
    prefix = names.validation_prefix(name)
    validated = prefix is None or any(names.validation_prefix(other) == prefix for other in metrics)
    if not validated and (any(history.by_steps) or not run.validates(run.progress.epoch)):
        return None
    there = ", ".join(sorted(metrics)) or "none"
    where = f"at step {run.progress.step}" if history.by_steps[-1:] == [True] else f"at the end of epoch {run.progress.epoch + 1}"
    near = set(metrics)
    if not any(map(names.is_validation, metrics)):
        # Names that validation would add, without `name` itself, which may be right.
        near |= {prefix + names.plain(metric) for metric in metrics for prefix in names.validation} - {name}
    msg = f"{run.plugin}: no metric {name!r} {where}; there are: {there}.{did_you_mean(name, sorted(near))}"
    if not validated:
        msg += (
            " Nothing was validated: pass validation data. If validation does not run every epoch, "
            "set validation_freq in fit, KerasAdapter or Loop; in Loop, None is for validation by steps."
        )
    elif not metrics:
        msg += " There are no metrics at all: log some, or pass data to evaluate."
    elif history.by_steps[-1:] == [True]:
        msg += " If it comes only with other observations, such as the end of an epoch, set missing='skip'."
    if missing == "error":
        raise MetricError(msg)
    warnings.warn(msg, HookcoreWarning, stacklevel=2)
    return None


def due(every: int, step: int, last: int) -> bool:
    """Return whether a multiple of `every` lies after step `last`, and at or before `step`.

    If several steps pass several multiples at once, something is due only once.
    """
    return step // every > last // every


def learning_rate_of(run: Run) -> float | None:
    """Return the learning rate in use, or None if the trainee lacks one or it cannot be read."""
    return learning_rate_in(run)


def observed(run: Run, monitor: Monitor, value: float) -> Monitor:
    """Return `monitor` after the run's latest observation, in which its metric has `value`."""
    progress = run.progress
    return monitor.observe(value, progress.epoch, progress.step, by_steps=run.history.by_steps[-1:] == [True])
