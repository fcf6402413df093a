"""The undocumented attributes with which the networks of `sklearn.neural_network` train."""

from __future__ import annotations

from typing import Any, Final

from sklearn.neural_network import MLPClassifier, MLPRegressor

OPTIMIZER: Final = "_optimizer"
"""The optimizer, which is made at the first batch. It copies the learning rate and ignores the parameter from then on, and
scikit-learn documents no way to change the rate of a network in training. skops does not trust its class by default."""
RATES: Final = ("learning_rate_init", "learning_rate")
"""The attributes of an optimizer that hold its rate. Its constructor sets both, and Adam derives the second from the first."""
CURVE: Final = "loss_curve_"
"""The loss of each batch so far, as a list of numbers; skops would write a file for each of them."""
TRUSTED: Final = [f"sklearn.neural_network._stochastic_optimizers.{name}" for name in ("AdamOptimizer", "SGDOptimizer")]
"""The classes of optimizers."""


def is_network(estimator: Any) -> bool:
    """Return whether `estimator` is a network."""
    return isinstance(estimator, MLPClassifier | MLPRegressor)


def optimizer_of(estimator: Any) -> Any:
    """Return the optimizer of a network that was trained; None for any other estimator."""
    return getattr(estimator, OPTIMIZER, None) if is_network(estimator) else None


def of_training(estimator: Any) -> dict[str, Any]:
    """Return what a network needs only for training, by attribute; an empty dict for other estimators."""
    own = vars(estimator) if is_network(estimator) else {}
    return {name: own[name] for name in (OPTIMIZER, CURVE) if name in own}
