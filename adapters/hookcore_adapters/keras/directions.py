"""The direction in which a metric of a Keras model improves, as Keras declares it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from hookcore.observing import DIRECTIONS
from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hookcore.trainee import Mode


def direction_in(model: Any, metric: str) -> Mode | None:
    """Return `min` for a loss, the direction that Keras declares for a compiled metric, and None for any other name."""
    wanted = metric.removeprefix("val_")
    prefixes = ["", *(f"{output}_" for output in outputs(model))]
    if wanted in {f"{prefix}loss" for prefix in prefixes}:
        return "min"
    for name, direction in directions(model.metrics):
        if wanted in {f"{prefix}{name}" for prefix in prefixes}:
            return direction
    return None


def outputs(model: Any) -> set[str]:
    """Return the names of the outputs, as far as they are known before the first batch."""
    names = set(getattr(model, "output_names", None) or [])
    for by_output in internals.losses_and_metrics_given(model):
        names |= set(by_output) if isinstance(by_output, dict) else set()
    return names


def directions(metrics: Iterable[Any]) -> Iterator[tuple[str, Mode | None]]:
    """Yield the name of each compiled metric and the direction that Keras declares for it."""
    for metric in metrics:
        # Keras makes compiled metrics at the first batch. Until then it has the arguments of `compile`.
        given = keras.tree.flatten(internals.metrics_given(metric))
        inner = getattr(metric, "metrics", None) or [leaf for leaf in given if leaf is not None]
        if inner:
            yield from directions(inner)
        elif isinstance(metric, str):
            yield metric, DIRECTIONS.get(metric.lower()) or _declared(_metric_called(metric))
        else:
            yield getattr(metric, "name", ""), _declared(metric)


def _metric_called(metric: str) -> Any:
    with contextlib.suppress(TypeError, ValueError):  # `fit` refuses a name that Keras does not know
        return keras.metrics.get(metric)
    return None


def _declared(metric: Any) -> Mode | None:
    known: dict[str | None, Mode] = {"up": "max", "down": "min"}
    return known.get(internals.direction_of(metric))
