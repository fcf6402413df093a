"""XGBoost's metrics: their names, `<data>-<metric>`, and the direction in which each gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore import MetricError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.trainee import Mode

# https://xgboost.readthedocs.io/en/stable/parameter.html, `eval_metric`. XGBoost's EarlyStopping maximizes every metric whose
# name begins with one of the first list, and minimizes all others: also a user's own accuracy, and interval-regression-accuracy.
# Those have no direction here, so a plugin asks for its `mode`, unless the name is well known.
_LARGER_IS_BETTER: Final = "auc aucpr map ndcg pre"
_SMALLER_IS_BETTER: Final = (
    "rmse rmsle mae mape mphe logloss error merror mlogloss expectile quantile poisson-nloglik gamma-nloglik cox-nloglik "
    "gamma-deviance tweedie-nloglik aft-nloglik"
)
_DIRECTIONS: Final[dict[str, Mode]] = {
    **dict.fromkeys(_LARGER_IS_BETTER.split(), "max"),
    **dict.fromkeys(_SMALLER_IS_BETTER.split(), "min"),
}


def direction(metric: str) -> Mode | None:
    """Return the direction of one of XGBoost's own metrics, such as `valid-ndcg@5-` or `auc`; None for any other."""
    whole, _, without_data = metric.partition("-")
    names = (metric, without_data or whole)
    return next((_DIRECTIONS[plain] for name in names if (plain := name.partition("@")[0].rstrip("-")) in _DIRECTIONS), None)


def latest(data: str, scores: Mapping[str, Sequence[Any]], iterations: int) -> dict[str, Any]:
    """Return the latest value of each metric in `scores`, which have its values after each of `iterations` iterations.

    `data` is the name of the data set, for the message. Raises `MetricError` for two metrics with the same name: XGBoost appends
    the values of both to one list.
    """
    for metric, values in scores.items():
        if len(values) > iterations:
            raise MetricError(
                f"XGBoostAdapter: two metrics have the name {metric!r}, as in {f'{data}-{metric}'!r}, and one would hide the "
                "other. Have custom_metric return a name that no other metric has, XGBoost's own included."
            )
    return {metric: values[-1] for metric, values in scores.items()}
