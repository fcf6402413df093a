"""LightGBM's metrics: their names, `<data>-<metric>`, and the direction in which each gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore import MetricError, MetricNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hookcore.trainee import Mode

TRAINING: Final = "training"
"""LightGBM's name for the training data, unless you give it another."""


def names(validation: Iterable[str], training: str = TRAINING) -> MetricNames:
    """Return the prefixes of metric names, for data sets with these names."""
    prefixes = dict.fromkeys(f"{name}-" for name in validation)
    return MetricNames(validation=tuple(prefixes), training=(f"{training}-",))


def by_name(results: Sequence[Any]) -> dict[str, Any]:
    """Return the values of `results`, LightGBM's list of evaluations, by name. Raises `MetricError` if two have the same name."""
    metrics = {_name(result): result[2] for result in results}
    if len(metrics) < len(results):
        raise MetricError(
            f"lightgbm: two metrics have the same name, and one would hide the other: {[_name(result) for result in results]}. "
            "Give each validation set, and each metric that feval returns, a different name."
        )
    return metrics


def direction(metric: str, results: Iterable[Any]) -> Mode | None:
    """Return the direction that LightGBM declares for `metric` in `results`, or None if they lack it."""
    return next(("max" if result[3] else "min" for result in results if metric == _name(result)), None)


def _name(result: Any) -> str:
    return f"{result[0]}-{result[1]}"
