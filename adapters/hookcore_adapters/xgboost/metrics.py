"""How XGBoost names its metrics, `<data>-<metric>`, and in which direction they are better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore import MetricError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.trainee import Mode

# https://xgboost.readthedocs.io/en/stable/parameter.html, `eval_metric`. XGBoost's EarlyStopping maximizes whatever begins with
# one of the first, and minimizes everything else: an accuracy of the user's own, and interval-regression-accuracy too. Those have
# no direction here, so that a plugin asks for its `mode`, unless the name is well known.
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
    """Return the latest value of each metric of `data`, from the values after each of `iterations` iterations.

    Raises `MetricError` for two metrics of one name: XGBoost appends the values of both to one list.
    """
    for metric, values in scores.items():
        if len(values) > iterations:
            raise MetricError(
                f"xgboost: two metrics have the name {metric!r}, as in {f'{data}-{metric}'!r}, and one would hide the other. "
                "Have custom_metric return a name that neither XGBoost's own metrics nor its others have."
            )
    return {metric: values[-1] for metric, values in scores.items()}
