"""How LightGBM names its metrics, `<data>-<metric>`, and in which direction they are better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore import MetricError, MetricNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hookcore.trainee import Mode

TRAINING: Final = "training"
"""LightGBM's name for the training data, unless it is given another."""


def names(validation: Iterable[str], training: str = TRAINING) -> MetricNames:
    """Return how the names of metrics begin, for data sets of these names."""
    prefixes = dict.fromkeys(f"{name}-" for name in validation)
    return MetricNames(validation=tuple(prefixes), training=(f"{training}-",))


def by_name(results: Sequence[Any]) -> dict[str, Any]:
    """Return the values of `results`, as LightGBM lists them, by name. Raises `MetricError` for two of one name."""
    metrics = {_name(result): result[2] for result in results}
    if len(metrics) < len(results):
        raise MetricError(
            f"lightgbm: of the metrics {[_name(result) for result in results]} two have one name, and one would hide the other. "
            "Name each validation set, and each metric that feval returns, differently."
        )
    return metrics


def direction(metric: str, results: Iterable[Any]) -> Mode | None:
    """Return the direction that LightGBM declares for `metric` in `results`; None if they lack it."""
    return next(("max" if result[3] else "min" for result in results if metric == _name(result)), None)


def _name(result: Any) -> str:
    return f"{result[0]}-{result[1]}"
