"""How XGBoost names its metrics, `<data>-<metric>`, and in which direction they are better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
