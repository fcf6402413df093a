"""The learning rate of estimators: the attributes that hold it, and whether plugins can set it."""

from __future__ import annotations

from numbers import Real
from typing import Any

from hookcore_adapters.sklearn.networks import RATES, optimizer_of


def parameter_of(estimator: Any) -> str | None:
    """Return the name of the parameter that is the learning rate of `estimator`, or None if it has no rate."""
    parameters = estimator.get_params(deep=False)
    for name in ("learning_rate_init", "eta0"):
        if name in parameters:
            return name
    rate = parameters.get("learning_rate")  # a number in some estimators, and the name of a schedule in others
    return "learning_rate" if isinstance(rate, Real) else None


def reason_not_set(estimator: Any) -> str | None:
    """Return why plugins cannot set the learning rate, as the end of a sentence, or None if they can."""
    kind, name = type(estimator).__name__, parameter_of(estimator)
    if name is None:
        return f"{kind} has no learning rate"
    schedule = getattr(estimator, "learning_rate", "constant")
    follows = isinstance(schedule, str) and schedule != "constant"
    if follows and (name == "eta0" or getattr(estimator, "solver", "") == "sgd"):
        return (
            f"{kind}(learning_rate={schedule!r}) computes the learning rate itself, and ignores or overwrites what a plugin "
            f"sets. Use {kind}(learning_rate='constant', {name}=...), or leave out this plugin"
        )
    optimizer = optimizer_of(estimator)
    if optimizer is not None and not all(hasattr(optimizer, rate) for rate in RATES):
        return (
            f"the optimizer of {kind} lacks the attributes {' and '.join(RATES)}, in which this version of hookcore sets the "
            "rate. Install the newest hookcore, or leave out this plugin"
        )
    return None


def get(estimator: Any) -> float:
    """Return the learning rate in use. Raises `AttributeError` if plugins cannot set it, as it is unknown then."""
    reason = reason_not_set(estimator)
    if reason is not None:
        raise AttributeError(f"SklearnTrainee: the learning rate is unknown: {reason}.")
    return float(getattr(optimizer_of(estimator) or estimator, str(parameter_of(estimator))))


def put(estimator: Any, value: float) -> None:
    """Set the learning rate: the parameter and the optimizer's copy. Raises `AttributeError` if plugins cannot set it."""
    reason = reason_not_set(estimator)
    if reason is not None:
        raise AttributeError(f"SklearnTrainee: the learning rate cannot be set to {value!r}: {reason}.")
    estimator.set_params(**{str(parameter_of(estimator)): float(value)})
    optimizer = optimizer_of(estimator)
    if optimizer is not None:
        for rate in RATES:
            setattr(optimizer, rate, float(value))
